import { useState } from "preact/hooks";

import type { SubmitParams } from "../client/index.ts";
import { CopyButton } from "./copyable.tsx";
import { storedToken } from "./identity.ts";
import { ScrollText } from "./scroll-text.tsx";
import { LANGUAGES, type Language, snippet } from "./snippets.ts";
import { Tabs } from "./tabs.tsx";

/** The same task from a terminal or a program. */
export function SnippetPane({ params }: { params: SubmitParams }) {
  const [language, setLanguage] = useState<Language>("curl");
  const text = snippet(language, params, location.origin, storedToken() !== null);
  return (
    <section class="card snippet" aria-labelledby="snippet-title">
      <div class="snippet-head">
        <h2 id="snippet-title">The same from elsewhere</h2>
        <CopyButton text={() => text} label="Copy" />
      </div>
      <Tabs
        label="Language"
        tabs={LANGUAGES.map((name) => ({ id: name, word: name }))}
        current={language}
        onChange={(id) => setLanguage(id as Language)}
      />
      <ScrollText label={`As ${language}`} text={text} />
    </section>
  );
}
