// The third tab: a report that somebody else's program wrote, kept at arm's length.

import { byId, make, number, readText, takesFiles, tell } from "./dom.js";

const METRICS = [["style", "Not toxic"], ["meaning", "Meaning"], ["fluency", "Fluency"], ["joint", "Joint"]];

export function start() {
  takesFiles(byId("drop-report"), byId("report-file"), take);
}

async function take(file) {
  const fault = byId("report-fault");
  tell(fault, "");
  byId("report-shown").replaceChildren();
  try {
    const text = await readText(file);
    byId("report-shown").replaceChildren(text.trimStart().startsWith("{") ? figures(text, file.name) : framed(text, file.name));
  } catch (error) {
    tell(fault, error.message);
  }
}

// It runs its own script (search, filters) in an origin of its own, without a network; see the
// headers of frame.html.
function framed(html, name) {
  if (!/<html[\s>]/i.test(html)) throw new Error(`${name} is neither HTML nor JSON of tactful evaluate.`);
  const frame = make("iframe", { src: "playground/frame.html", sandbox: "allow-scripts", title: `Report: ${name}`, referrerpolicy: "no-referrer" });
  frame.addEventListener("load", () => frame.contentWindow.postMessage(html, "*"), { once: true });
  return make("div", {}, make("h2", {}, name), frame);
}

function figures(text, name) {
  let report;
  try { report = JSON.parse(text); } catch (error) {
    throw new Error(`${name} is not readable JSON: ${error.message}`);
  }
  if (!Array.isArray(report?.systems) || !report.systems.every((system) => system?.soft && system?.hard)) {
    throw new Error(`${name} is JSON, but no report of tactful evaluate: it lists no systems with figures.`);
  }
  return make("div", {},
    make("h2", {}, name),
    make("p", {}, make("code", {}, String(report.signature ?? ""))),
    scores("Mean scores", report.systems, "soft"),
    scores("Share of sentences that pass", report.systems, "hard"),
    checks(report.systems));
}

const shown = (value) => (Number.isFinite(value) ? value.toFixed(3) : "\u2013");

function scores(caption, systems, kind) {
  return grid(caption, METRICS.map(([, name]) => name), systems.map((system) => [system.name,
    METRICS.map(([metric]) => {
      const found = system[kind][metric] ?? {};
      return [shown(found.mean), Number.isFinite(found.low) ? `${shown(found.low)} to ${shown(found.high)}` : ""];
    })]));
}

function checks(systems) {
  const names = [...new Set(systems.flatMap((system) => Object.keys(system.checks ?? {})))];
  if (!names.length) return null;
  return grid("Checks", systems.map((system) => system.name), names.map((name) => [name.replaceAll("_", " "),
    systems.map((system) => {
      const found = system.checks?.[name] ?? {};
      return [shown(found.rate), Number.isFinite(found.of) ? `of ${number(found.of)}` : ""];
    })]));
}

function grid(caption, columns, rows) {
  const head = make("tr", {}, make("th", { scope: "col" }, make("span", { class: "sr" }, "Name")), ...columns.map((name) => make("th", { scope: "col" }, String(name))));
  const body = rows.map(([name, cells]) => make("tr", {}, make("th", { scope: "row" }, String(name)),
    ...cells.map(([value, note]) => make("td", {}, value, note && make("small", {}, note)))));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)));
}
