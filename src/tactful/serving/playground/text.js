// Texts on the page: what is blurred, what is marked, what has changed.

import { make } from "./dom.js";

// What is hidden from the eye is hidden from a screen reader, too, and says so.
export function blurred(node) {
  node.classList.add("toxic");
  veil(node, !document.documentElement.classList.contains("show"));
  return node;
}

export function veil(node, hidden) {
  if (hidden) node.setAttribute("aria-hidden", "true");
  else node.removeAttribute("aria-hidden");
}

export const hiddenNote = () => make("span", { class: "sr when-hidden" }, "Toxic text, hidden.");

// Offsets of the server count code points, those of JavaScript UTF-16 units.
export function marked(text, spans) {
  const letters = Array.from(text);
  const pieces = [];
  let at = 0;
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start < at || end > letters.length || end <= start) continue;
    if (start > at) pieces.push(letters.slice(at, start).join(""));
    pieces.push(make("mark", {}, letters.slice(start, end).join("")));
    at = end;
  }
  pieces.push(letters.slice(at).join(""));
  return pieces;
}

const TOKEN = /[\p{L}\p{N}_]+(?:['\u2019][\p{L}\p{N}]+)*|[^\s\p{L}\p{N}_]/gu;
const MOST = 4_000_000;

function tokens(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    found.push({ space: text.slice(at, match.index), word: match[0] });
    at = match.index + match[0].length;
  }
  return { found, rest: text.slice(at) };
}

// Runs of [kind, text]: "same", "gone" (only in the first), "new" (only in the second).
export function difference(before, after) {
  const a = tokens(before), b = tokens(after);
  const runs = [];
  const put = (kind, token) => {
    const last = runs.at(-1);
    if (last && last[0] === kind) last[1] += token.space + token.word;
    else runs.push([kind, token.space + token.word]);
  };
  for (const [kind, i, j] of steps(a.found, b.found)) {
    put(kind, kind === "gone" ? a.found[i] : b.found[j]);
  }
  if (b.rest) runs.push(["same", b.rest]);
  return goneFirst(runs);
}

function goneFirst(runs) {
  for (let i = 1; i < runs.length; i++) {
    if (runs[i][0] === "gone" && runs[i - 1][0] === "new") [runs[i - 1], runs[i]] = [runs[i], runs[i - 1]];
  }
  return runs;
}

function steps(a, b) {
  const found = [];
  let start = 0, endA = a.length, endB = b.length;
  while (start < endA && start < endB && a[start].word === b[start].word) start++;
  while (endA > start && endB > start && a[endA - 1].word === b[endB - 1].word) { endA--; endB--; }
  for (let i = 0; i < start; i++) found.push(["same", i, i]);
  found.push(...middle(a, b, start, endA, endB));
  for (let i = endA; i < a.length; i++) found.push(["same", i, endB + i - endA]);
  return found;
}

// The longest common subsequence; texts of thousands of different words are told apart as wholes.
function middle(a, b, start, endA, endB) {
  const n = endA - start, m = endB - start;
  const found = [];
  if (n * m > MOST) {
    for (let i = start; i < endA; i++) found.push(["gone", i, 0]);
    for (let j = start; j < endB; j++) found.push(["new", 0, j]);
    return found;
  }
  const width = m + 1;
  const common = new Uint16Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      common[i * width + j] = a[start + i].word === b[start + j].word
        ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  let i = 0, j = 0;
  while (i < n || j < m) {
    if (i < n && j < m && a[start + i].word === b[start + j].word) {
      found.push(["same", start + i++, start + j++]);
    } else if (i < n && (j === m || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      found.push(["gone", start + i++, 0]);
    } else {
      found.push(["new", 0, start + j++]);
    }
  }
  return found;
}

// The difference as elements. Words that went may be the insult, so they are blurred.
export function shown(before, after) {
  return difference(before, after).map(([kind, text]) => {
    if (kind === "same") return text;
    const space = text.match(/^\s*/)[0];
    const words = text.slice(space.length);
    const node = kind === "gone" ? blurred(make("del", {}, words)) : make("ins", {}, words);
    const note = make("span", { class: "sr" }, kind === "gone" ? " gone: " : " new: ");
    const box = make("span", {}, space, note, node);
    if (kind === "gone") box.insertBefore(hiddenNote(), node);
    return box;
  });
}

export const NEARLY = "No rewrite passed every check. This is the best of those that nearly did; look at it twice.";

export const STATUS = {
  unchanged: ["Left as it is", "The text is already decent, so it was not touched."],
  rewritten: ["Rewritten", "A rewrite passed every check: less toxic, same meaning, readable."],
  unresolved: ["No good rewrite", "No rewrite passed every check. The text below is what this server\u2019s policy shows in its place."],
  escalated: ["For a person", "This looks like a threat, a call to violence, self-harm or someone\u2019s private details. It is not made polite: a person should read it."],
  not_screened: ["Not judged", "The text is outside what can be judged here, by its language or its length. That does not mean that it is clean."],
  error: ["Could not be processed", "Something about this text could not be handled."],
};
