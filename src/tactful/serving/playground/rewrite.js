// The first tab: one text, its rewrites, and what a person makes of them.

import { ask, server } from "./api.js";
import * as decisions from "./decisions.js";
import { byId, download, make, number, score, tell } from "./dom.js";
import { setting } from "./settings.js";
import { NEARLY, STATUS, blurred, hiddenNote, marked, shown } from "./text.js";

let now = null; // {text, model, result, candidates, chosen, row}

const lengthOf = (text) => Array.from(text).length;

export function start() {
  byId("ask").addEventListener("submit", (event) => { event.preventDefault(); rewrite(); });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); rewrite(); }
  });
  byId("text").addEventListener("input", count);
  byId("accept").addEventListener("click", accept);
  byId("start-edit").addEventListener("click", openEditor);
  byId("cancel-edit").addEventListener("click", () => { closeEditor(); byId("start-edit").focus(); });
  byId("edit").addEventListener("submit", (event) => { event.preventDefault(); edit(); });
  byId("reject").addEventListener("click", () => decide("rejected", null, candidate()));
  byId("undo").addEventListener("click", undo);
  byId("keep").checked = setting("keep");
  byId("keep").addEventListener("change", (event) => decisions.keep(event.target.checked));
  byId("save-pairs").addEventListener("click", () => download("preferences.jsonl", decisions.pairs(), "application/jsonl"));
  byId("save-rejected").addEventListener("click", () => download("rejected.jsonl", decisions.rejections(), "application/jsonl"));
  byId("forget").addEventListener("click", () => { decisions.clear(); list(); byId("decisions-name").scrollIntoView({ block: "nearest" }); });
  decisions.open();
  count();
  list();
}

function count() {
  const length = lengthOf(byId("text").value);
  const hint = byId("length");
  hint.textContent = `${number(length)} of ${number(server.max_text)} characters`;
  hint.classList.toggle("over", length > server.max_text);
}

async function rewrite() {
  const text = byId("text").value;
  const fault = byId("ask-fault");
  tell(fault, "");
  if (!text.trim()) {
    tell(fault, "Type or paste a comment first.");
    return byId("text").focus();
  }
  const length = lengthOf(text);
  if (length > server.max_text) {
    return tell(fault, `The text has ${number(length)} characters; ${number(server.max_text)} can be rewritten at a time. Shorten it, or give it in parts.`);
  }
  const go = byId("go");
  if (go.getAttribute("aria-busy") === "true") return;
  go.setAttribute("aria-busy", "true");
  go.textContent = "Rewriting\u2026";
  byId("said").textContent = "Rewriting";
  try {
    const answer = await ask("v1/rewrite", { text, force: byId("force").checked });
    show(text, answer);
  } catch (error) {
    byId("said").textContent = "";
    tell(fault, error.message);
  } finally {
    go.removeAttribute("aria-busy");
    go.textContent = "Rewrite";
  }
}

function show(text, { model, results: [result] }) {
  const candidates = result.status === "rewritten" ? [result.text, ...result.alternatives] : [];
  now = { text, model, result, candidates, chosen: 0, row: null, scores: new Map() };
  const [name, words] = STATUS[result.status];
  byId("status").textContent = name;
  byId("result").dataset.status = result.status;
  // A rewrite comes with a reason only where it was let off a check.
  byId("meaning").textContent = result.status === "rewritten" && result.reason ? NEARLY : words;
  tell(byId("reason"), result.reason ? `Reason: ${result.reason}.` : "");
  const original = byId("original");
  const pieces = marked(text, result.spans);
  original.replaceChildren(...(result.status === "unchanged"
    ? pieces : [hiddenNote(), blurred(make("span", {}, ...pieces))]));
  choices();
  closeEditor();
  undecided();
  choose(0);
  tell(byId("made"), model ? `Made and judged by ${model.split("|").map((part) => part.split("@")[0]).join(", ")}` : "");
  byId("made").title = model;
  byId("result").hidden = false;
  byId("said").textContent = `${name}. ${toxicResult() ? words : result.text}`;
  byId("status").scrollIntoView({ block: "nearest" });
}

const toxicResult = () => now.result.status !== "rewritten" && now.result.status !== "unchanged"
  && (now.result.text === now.text || (now.result.toxicity.after ?? 1) >= server.act);

function choices() {
  const { candidates, result, text } = now;
  const box = byId("choices");
  byId("candidates").hidden = result.status === "unchanged";
  byId("candidates-name").textContent = candidates.length > 1 ? "Rewrites: choose one"
    : candidates.length ? "Rewrite" : "Shown in its place";
  if (candidates.length) {
    box.replaceChildren(...candidates.map((words, i) => {
      const field = make("input", { type: "radio", name: "candidate", value: i, id: `candidate-${i}`, checked: i === 0 });
      field.addEventListener("change", () => choose(i));
      return make("label", { class: "choice", for: field.id }, field, make("span", { class: "text" }, words));
    }));
  } else {
    const words = result.text ? make("span", {}, result.text) : make("em", {}, result.status === "error" ? "Nothing." : "Nothing: the text is blocked.");
    const toxic = result.text && toxicResult();
    box.replaceChildren(make("p", { class: "text" }, ...(toxic ? [hiddenNote(), blurred(words)] : [words])));
  }
}

const candidate = () => now.candidates[now.chosen];

function choose(i) {
  now.chosen = i;
  const words = candidate();
  byId("changes").hidden = words == null;
  if (words != null) byId("diff").replaceChildren(...shown(now.text, words));
  bars();
  if (i > 0 && !now.scores.has(i)) measure(i, words);
}

// The server measures the rewrite it would print; another one is screened when it is chosen.
async function measure(i, words) {
  const those = now;
  try {
    const { results: [found] } = await ask("v1/score", { text: words });
    those.scores.set(i, found.toxicity);
  } catch { return; /* the bar stays empty */ }
  if (now === those && now.chosen === i) bars();
}

function bars() {
  const { result, chosen } = now;
  const { before } = result.toxicity;
  const first = chosen === 0;
  const after = first ? result.toxicity.after : now.scores.get(chosen);
  const rows = [bar("Toxicity before", before, "gone", server.act), bar("Toxicity after", after, "new", server.act)];
  if (result.status === "rewritten") {
    if (!first) rows.push(make("p", { class: "hint" }, "Meaning and reading are measured for the first rewrite."));
    else {
      if (result.similarity != null) rows.push(bar("Meaning kept", result.similarity, "plain"));
      if (result.fluency != null) rows.push(bar("Reads well", result.fluency, "plain"));
    }
  }
  byId("bars").replaceChildren(...rows);
}

function bar(name, value, kind, limit) {
  const known = value != null;
  const fill = make("span", { class: "fill" });
  fill.style.width = known ? `${100 * Math.max(0.01, value)}%` : "0";
  const track = make("span", known
    ? { class: "track", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": value.toFixed(3) }
    : { class: "track" }, fill);
  if (limit != null) {
    const tick = make("span", { class: "tick", title: `Counts as toxic from ${score(limit)}` });
    tick.style.left = `${100 * limit}%`;
    track.append(tick);
  }
  return make("div", { class: `bar ${kind}` }, make("span", { class: "name" }, name), make("span", { class: "value" }, score(value)), track);
}

// ---- deciding

function undecided() {
  now.row = null;
  const { status } = now.result;
  const rewritten = status === "rewritten";
  byId("accept").hidden = byId("reject").hidden = !rewritten;
  // What goes to a person, or was not judged at all, is nothing to learn from.
  byId("start-edit").hidden = !["rewritten", "unresolved", "unchanged"].includes(status);
  byId("start-edit").textContent = rewritten ? "Edit" : "Write your own";
  byId("decide").hidden = byId("start-edit").hidden;
  byId("decided").hidden = true;
}

function accept() {
  // An alternative was preferred to the first rewrite, the first rewrite to the text as it was.
  decide("accepted", candidate(), now.chosen ? now.candidates[0] : now.text);
}

function openEditor() {
  const own = byId("own");
  own.value = candidate() ?? now.text;
  byId("edit").hidden = false;
  byId("decide").hidden = true;
  own.focus();
}

function closeEditor() {
  byId("edit").hidden = true;
  own().removeAttribute("aria-invalid");
  if (now) byId("decide").hidden = byId("start-edit").hidden || now.row != null;
}

const own = () => byId("own");

function edit() {
  const words = own().value.trim();
  const rejected = candidate() ?? now.text;
  if (!words || words === rejected.trim() || words === now.text.trim() || lengthOf(words) > server.max_text) {
    own().setAttribute("aria-invalid", "true");
    own().focus();
    return tell(byId("ask-fault"), !words ? "Write something first."
      : lengthOf(words) > server.max_text ? `Your version is longer than ${number(server.max_text)} characters.`
        : words === now.text.trim() ? "That is the original. Change it, or cancel."
          : "You have changed nothing. Change it, or cancel and accept it as it is.");
  }
  tell(byId("ask-fault"), "");
  byId("edit").hidden = true;
  decide("edited", words, rejected);
}

const DONE = { accepted: "Accepted.", edited: "Your version is kept.", rejected: "Rejected." };

async function decide(decision, chosen, rejected) {
  const those = now;
  const row = decisions.add({ text: now.text, decision, chosen, rejected, model: now.model });
  now.row = row;
  byId("decide").hidden = true;
  const words = byId("decided-words");
  const say = (more) => { if (now === those && now.row === row) words.textContent = `${DONE[decision]}${more}`; };
  byId("decided").hidden = false;
  say("");
  byId("undo").focus();
  list();
  const notes = await Promise.all([kept(row), decision === "edited" ? judged(chosen) : ""]);
  say(notes.join(""));
}

async function kept(row) {
  if (!server.keeps_decisions) return "";
  try {
    await decisions.report(row);
    return " The server has kept it, too.";
  } catch (error) {
    return ` The server has not kept it: ${error.message}`;
  }
}

async function judged(words) {
  try {
    const { results: [{ toxicity, toxic }] } = await ask("v1/score", { text: words });
    if (toxicity == null) return "";
    return toxic ? ` Mind that it is still toxic (${score(toxicity)}).` : ` Its toxicity is ${score(toxicity)}.`;
  } catch { return ""; /* a person has the last word anyway */ }
}

function undo() {
  if (now.row) decisions.remove(now.row);
  undecided();
  list();
  byId("start-edit").focus();
}

const NAMES = { accepted: "Accepted", edited: "Edited", rejected: "Rejected" };

function list() {
  const rows = decisions.all();
  byId("tally").textContent = number(rows.length);
  byId("log").hidden = !rows.length;
  byId("decisions-hint").hidden = Boolean(rows.length);
  byId("save-pairs").disabled = !rows.some((row) => row.chosen != null);
  byId("save-rejected").disabled = !rows.some((row) => row.chosen == null);
  byId("entries").replaceChildren(...rows.slice(-20).reverse().map((row) => {
    const remove = make("button", { type: "button", class: "plain", "aria-label": `Remove: ${row.decision}, ${row.chosen ?? "nothing chosen"}` }, "Remove");
    remove.addEventListener("click", () => {
      decisions.remove(row);
      if (now?.row === row) undecided();
      list();
      byId("decisions-name").scrollIntoView({ block: "nearest" });
    });
    const said = row.chosen ?? row.rejected;
    return make("li", {}, make("span", { class: `tag ${row.decision}` }, NAMES[row.decision]),
      make("span", { class: "what" }, row.chosen == null ? make("s", {}, said) : said), remove);
  }));
}
