// The page: tabs, how it looks, and the key where one is needed.

import { ask, hasKey, load, onNoKey, server, useKey } from "./api.js";
import { byId, tell } from "./dom.js";
import * as file from "./file.js";
import * as report from "./report.js";
import * as rewrite from "./rewrite.js";
import { nextTheme, set, setting } from "./settings.js";
import { veil } from "./text.js";

const TABS = ["rewrite", "file", "report"];
const root = document.documentElement;

function open(name) {
  for (const other of TABS) {
    const tab = byId(`tab-${other}`);
    const here = other === name;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    byId(other).hidden = !here;
  }
}

const named = () => (TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : TABS[0]);

function tabs() {
  TABS.forEach((name, i) => {
    const tab = byId(`tab-${name}`);
    const go = (to) => { history.replaceState(null, "", `#${to}`); open(to); };
    tab.addEventListener("click", () => go(name));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: TABS.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const other = TABS[(to + TABS.length) % TABS.length];
      go(other);
      byId(`tab-${other}`).focus();
    });
  });
  addEventListener("hashchange", () => open(named()));
  open(named());
}

function look() {
  const theme = setting("theme");
  if (theme === "auto") root.removeAttribute("data-theme");
  else root.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  const show = Boolean(setting("show"));
  root.classList.toggle("show", show);
  byId("show").setAttribute("aria-pressed", String(show));
  for (const node of document.querySelectorAll(".toxic")) veil(node, !show);
}

function view() {
  byId("theme").addEventListener("click", () => { set("theme", nextTheme()); look(); });
  byId("show").addEventListener("click", () => { set("show", !setting("show")); look(); });
  look();
}

function door() {
  const box = byId("door");
  onNoKey(() => { box.hidden = false; });
  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim());
    try {
      await ask("v1/score", { text: "hello" });
    } catch (error) {
      if (error.kind === "no_key") { useKey(null); byId("key").focus(); }
      byId("door-hint").textContent = error.message;
      if (error.kind === "no_key") return;
    }
    byId("key").value = "";
    byId("door-hint").textContent = "It is kept in this tab and nowhere else.";
    tell(byId("ask-fault"), "");
    keyed();
  });
  byId("leave").addEventListener("click", () => { useKey(null); keyed(); byId("key").focus(); });
}

function keyed() {
  byId("door").hidden = !server.needs_key || hasKey();
  byId("leave").hidden = !server.needs_key || !hasKey();
}

view();
tabs();
door();
rewrite.start();
file.start();
report.start();
performance.mark("usable");

load().then(keyed, (error) => tell(byId("ask-fault"), error.message));
