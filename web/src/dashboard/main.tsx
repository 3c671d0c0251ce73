import { render } from "preact";

import { App } from "./app.tsx";
import { adoptToken } from "./route.ts";
import { start } from "./store.ts";
import "./style/base.css";
import "./style/header.css";
import "./style/pages.css";
import "./style/new-task.css";
import "./style/task.css";
import "./style/narrow.css";

adoptToken();
start();
render(<App />, document.getElementById("app") as HTMLElement);
