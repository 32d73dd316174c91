// What a person decided, as rows that training reads. They stay in this tab, or in this browser
// when asked to, and leave it only as a download, or to a server whose operator keeps them.

import { ask, server } from "./api.js";
import { set, setting } from "./settings.js";

const NAME = "tactful.decisions";
let rows = [];

export function open() {
  for (const store of [() => sessionStorage, () => localStorage]) {
    try {
      const found = JSON.parse(store().getItem(NAME));
      if (Array.isArray(found) && found.length) { rows = found; break; }
    } catch { /* storage is off or holds something else */ }
  }
}

export const all = () => rows;

export function add({ text, decision, chosen, rejected, model }) {
  const row = { text, prompt: server.prompt.replace("{text}", () => text) };
  if (chosen != null) row.chosen = chosen;
  Object.assign(row, { rejected, decision, model, time: new Date().toISOString() });
  rows.push(row);
  store();
  return row;
}

export function remove(row) {
  rows = rows.filter((other) => other !== row);
  store();
}

export function clear() {
  rows = [];
  store();
}

export function keep(wanted) {
  set("keep", wanted);
  store();
}

// The server's own copy, where it keeps one.
export async function report(row) {
  const { text, decision, rejected, model } = row;
  await ask("v1/decisions", { text, decision, chosen: row.chosen ?? null, rejected, model });
}

export const pairs = () => lines(rows.filter((row) => row.chosen != null));

export const rejections = () => lines(rows.filter((row) => row.chosen == null));

const lines = (found) => found.map((row) => JSON.stringify(row) + "\n").join("");

function store() {
  const text = JSON.stringify(rows);
  try {
    sessionStorage.setItem(NAME, text);
    if (setting("keep")) localStorage.setItem(NAME, text);
    else localStorage.removeItem(NAME);
  } catch { /* they live as long as the page */ }
}
