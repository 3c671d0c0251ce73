import { useState } from "preact/hooks";

interface CopyProps {
  text: () => string;
  label: string;
}

/** Copies on click; where the browser forbids it, says so. */
export function CopyButton({ text, label }: CopyProps) {
  const [said, setSaid] = useState<string | null>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      setSaid("Copied");
    } catch {
      setSaid("Can't copy here");
    }
    setTimeout(() => setSaid(null), 1_500);
  };
  return (
    <button type="button" class="small" onClick={() => void copy()} aria-live="polite">
      {said ?? label}
    </button>
  );
}

/** A command line to take along. */
export function Command({ line }: { line: string }) {
  return (
    <div class="command-line">
      <code>{line}</code>
      <CopyButton text={() => line} label="Copy" />
    </div>
  );
}
