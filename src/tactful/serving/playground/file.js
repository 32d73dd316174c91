// The second tab: a table, row by row through the server, a few at a time.

import { Refusal, ask, server } from "./api.js";
import { parse, write } from "./csv.js";
import { byId, download, make, number, readText, score, takesFiles, tell } from "./dom.js";
import { STATUS, blurred, hiddenNote } from "./text.js";

const ADDED = ["_text", "_status", "_reason", "_toxicity_before", "_toxicity_after", "_similarity", "_fluency"];
const TEXTS = ["comment_text", "text", "comment", "sentence", "tweet", "content", "message", "body"];
const LARGEST = 30_000_000;
const BATCH = 8;
const TRIES = 4;
const PAGE = 25;
const BINS = 20;

let table = null; // {name, header, rows, column, results, done}
let running = null; // an AbortController
let page = 0;

export function start() {
  takesFiles(byId("drop"), byId("csv"), take);
  byId("plan").addEventListener("submit", (event) => { event.preventDefault(); if (!running) run(); });
  byId("column").addEventListener("change", () => { table.results = []; table.done = 0; byId("outcome").hidden = true; plan(); });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("save-csv").addEventListener("click", save);
  byId("back").addEventListener("click", () => draw(page - 1));
  byId("next").addEventListener("click", () => draw(page + 1));
  byId("filter").append(...["all", ...Object.keys(STATUS)].map((status, i) => {
    const field = make("input", { type: "radio", name: "status", value: status, checked: i === 0, id: `only-${status}` });
    field.addEventListener("change", () => draw(0));
    return make("label", { class: "pill", for: field.id }, field, make("span", {},
      status === "all" ? "All" : STATUS[status][0], " ", make("b", { id: `count-${status}` }, "0")));
  }));
}

async function take(file) {
  const fault = byId("file-fault");
  tell(fault, "");
  if (running) return tell(fault, "A file is being worked on. Stop it first.");
  table = null;
  for (const id of ["plan", "working", "outcome"]) byId(id).hidden = true;
  try {
    if (file.size > LARGEST) {
      throw new Error(`${file.name} has ${number(Math.round(file.size / 1e6))} MB; here ${LARGEST / 1e6} MB are the most. For large files there is: tactful rewrite FILE -o FILE`);
    }
    const { header, rows } = parse(await readText(file));
    if (!rows.length) throw new Error(`${file.name} has no rows below its first line, which should name the columns.`);
    const clash = ADDED.find((name) => header.includes(name));
    if (clash) throw new Error(`${file.name} has a column ${clash} already. Rename it, and choose the file again.`);
    table = { name: file.name, header, rows, results: [], done: 0 };
  } catch (error) {
    return tell(fault, error.message);
  }
  const names = table.header.map((name) => name.trim().toLowerCase());
  const guess = TEXTS.map((name) => names.indexOf(name)).find((i) => i >= 0) ?? 0;
  byId("column").replaceChildren(...table.header.map((name, i) =>
    make("option", { value: i, selected: i === guess }, name || `column ${i + 1}`)));
  plan();
  byId("plan").hidden = false;
}

function plan() {
  const left = table.rows.length - table.done;
  const start = byId("start");
  start.textContent = table.done ? `Go on with ${number(left)} rows` : `Rewrite ${number(left)} ${left === 1 ? "row" : "rows"}`;
  start.hidden = Boolean(running) || !left;
  byId("stop").hidden = !running;
  byId("column").disabled = Boolean(running);
}

async function run() {
  tell(byId("file-fault"), "");
  running = new AbortController();
  table.column = Number(byId("column").value);
  byId("working").hidden = false;
  plan();
  byId("stop").focus();
  const began = performance.now(), first = table.done;
  try {
    while (table.done < table.rows.length) {
      const batch = table.rows.slice(table.done, table.done + Math.min(BATCH, server.max_texts));
      table.results.push(...await answers(batch.map((row) => row[table.column] ?? "")));
      table.done = table.results.length;
      progress((table.done - first) / (performance.now() - began) * 1000);
      outcome();
    }
    const words = `Done: ${number(table.done)} rows.`;
    byId("pace").textContent = words;
    byId("file-said").textContent = words;
  } catch (error) {
    const far = ` ${number(table.done)} of ${number(table.rows.length)} rows are done.`;
    if (error.kind === "stopped") { byId("pace").textContent = `Stopped.${far}`; byId("file-said").textContent = `Stopped.${far}`; }
    else tell(byId("file-fault"), error.message + far);
  } finally {
    running = null;
    plan();
    (byId("start").hidden ? byId("save-csv") : byId("start")).focus();
  }
}

const failed = (status, reason) => ({
  text: "", status, reason, toxicity: { before: null, after: null }, similarity: null, fluency: null,
});

async function answers(texts) {
  const found = texts.map((text) => Array.from(text).length > server.max_text
    ? { ...failed("not_screened", `longer than ${server.max_text} characters`), text } : null);
  const open = texts.filter((_, i) => !found[i]);
  const answered = open.length ? await patiently(open) : [];
  return found.map((result) => result ?? answered.shift());
}

// One request; what the server refuses as a whole is asked in smaller parts, at last one by one.
async function patiently(texts) {
  for (let tries = 1; ; tries++) {
    try {
      return (await ask("v1/rewrite", { text: texts }, { signal: running.signal })).results;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.kind === "too_many") await wait(error.wait, "This key has used up what it may ask for now.");
      else if (["busy", "offline"].includes(error.kind) && tries < TRIES) await wait(error.wait || 2, error.message.split(". ")[0] + ".");
      else if (["busy", "timeout", "too_long", "unreadable"].includes(error.kind)) {
        if (texts.length === 1) return [failed("error", error.message)];
        const half = Math.ceil(texts.length / 2);
        return [...await patiently(texts.slice(0, half)), ...await patiently(texts.slice(half))];
      } else throw error;
    }
  }
}

async function wait(seconds, why) {
  byId("file-said").textContent = `${why} Going on in ${seconds} seconds.`;
  for (let left = Math.ceil(seconds); left > 0; left--) {
    byId("pace").textContent = `${why} Going on in ${left} s.`;
    await new Promise((done) => {
      const clock = setTimeout(done, 1000);
      running.signal.addEventListener("abort", () => { clearTimeout(clock); done(); }, { once: true });
    });
    if (running.signal.aborted) throw new Refusal("stopped", "Stopped.");
  }
  byId("file-said").textContent = "";
}

function progress(rate) {
  const bar = byId("progress");
  bar.max = table.rows.length;
  bar.value = table.done;
  const left = Math.round((table.rows.length - table.done) / rate);
  const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  byId("pace").textContent = `${number(table.done)} of ${number(table.rows.length)} rows, ${rate.toFixed(1)} a second, ${clock} left`;
}

// ---- what came of it

function outcome() {
  byId("outcome").hidden = false;
  for (const status of ["all", ...Object.keys(STATUS)]) {
    const many = status === "all" ? table.done : table.results.filter((r) => r.status === status).length;
    byId(`count-${status}`).textContent = number(many);
    byId(`only-${status}`).parentElement.hidden = status !== "all" && !many;
  }
  plots();
  draw(page);
}

function plots() {
  const values = (when) => table.results.map((r) => r.toxicity[when]).filter((value) => value != null);
  const sets = [["Toxicity before", values("before"), "gone"], ["Toxicity after", values("after"), "new"]];
  const binned = sets.map(([, found]) => bins(found));
  const most = Math.max(1, ...binned.flat());
  byId("plots").replaceChildren(...sets.map(([name, found, kind], i) => plot(name, found, binned[i], most, kind)));
}

function bins(values) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor(value * BINS))]++;
  return counts;
}

function plot(name, values, counts, most, kind) {
  const toxic = values.filter((value) => value >= server.act).length;
  const mean = values.length ? values.reduce((a, b) => a + b, 0) / values.length : 0;
  const words = `${number(toxic)} of ${number(values.length)} toxic, mean ${score(mean)}`;
  const columns = make("div", { class: `columns ${kind}`, role: "img", "aria-label": `${name}: ${words}` });
  counts.forEach((count, i) => {
    const column = make("span", { title: `${(i / BINS).toFixed(2)} to ${((i + 1) / BINS).toFixed(2)}: ${number(count)}` });
    // A bar of one row among thousands must be seen.
    column.style.height = count ? `max(2px, ${100 * count / most}%)` : "0";
    columns.append(column);
  });
  const tick = make("i", { class: "tick" });
  tick.style.left = `${100 * server.act}%`;
  columns.append(tick);
  const axis = make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, "0"), make("span", {}, "0.5"), make("span", {}, "1"));
  return make("figure", {}, make("figcaption", {}, make("b", {}, name), " ", make("span", { class: "hint" }, words)), columns, axis);
}

function draw(to) {
  const only = document.querySelector('input[name="status"]:checked').value;
  const rows = table.results.map((result, i) => [i, result]).filter(([, r]) => only === "all" || r.status === only);
  const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
  page = Math.min(Math.max(0, to), last);
  const from = page * PAGE;
  const some = rows.slice(from, from + PAGE);
  byId("rows").replaceChildren(head(), ...some.map(([i, result]) => line(i, result)));
  byId("place").textContent = rows.length ? `${number(from + 1)}\u2013${number(from + some.length)} of ${number(rows.length)}` : "none";
  byId("back").disabled = page === 0;
  byId("next").disabled = page === last;
  byId("pager").hidden = last === 0;
}

const cell = (kind, ...content) => make("div", { class: kind, role: "cell" }, ...content);

function head() {
  const names = ["Row", "Original", "Result", "Status", "Toxicity"];
  return make("div", { class: "row head", role: "row" }, ...names.map((name) => make("div", { role: "columnheader" }, name)));
}

function line(i, result) {
  const text = table.rows[i][table.column] ?? "";
  const clean = result.status === "unchanged";
  const same = result.text === text;
  const words = make("span", {}, same ? "as it is" : result.text || "\u2013");
  return make("div", { class: "row", role: "row", "data-status": result.status },
    cell("n", number(i + 1)),
    cell("text", ...(clean ? [text] : [hiddenNote(), blurred(make("span", {}, text))])),
    cell(`text${same ? " hint" : ""}`, words),
    cell("", make("span", { class: `tag ${result.status}`, title: result.reason }, STATUS[result.status][0])),
    cell("value", `${score(result.toxicity.before)} \u2192 ${score(result.toxicity.after)}`));
}

function save() {
  const rounded = (value) => (value == null ? "" : String(Math.round(value * 10000) / 10000));
  const rows = table.rows.map((row, i) => {
    const r = table.results[i];
    const cells = table.header.map((_, j) => row[j] ?? "");
    return r ? [...cells, r.text, r.status, r.reason, rounded(r.toxicity.before), rounded(r.toxicity.after), rounded(r.similarity), rounded(r.fluency)]
      : [...cells, "", "", "not done yet", "", "", "", ""];
  });
  const name = table.name.replace(/\.[^.]*$/, "");
  download(`${name}.rewritten.csv`, write([[...table.header, ...ADDED], ...rows]), "text/csv");
}
