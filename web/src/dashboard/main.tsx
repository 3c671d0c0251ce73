import { render } from "preact";

import { App } from "./app.tsx";
import { startKeys } from "./keys.ts";
import { adoptToken } from "./route.ts";
import { start } from "./store.ts";
import "./style/tokens.css";
import "./style/base.css";
import "./style/controls.css";
import "./style/parts.css";
import "./style/shell.css";
import "./style/list.css";
import "./style/form.css";
import "./style/task.css";
import "./style/charts.css";
import "./style/output.css";
import "./style/pages.css";
import "./style/overlays.css";
import "./style/narrow.css";

adoptToken();
start();
startKeys();
render(<App />, document.getElementById("app") as HTMLElement);
