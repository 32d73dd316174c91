// Tables as text: RFC 4180 with a comma, semicolon or tab.

const FORMULA = /^[=+\-@\t\r]/;

export function parse(text) {
  const body = text.replace(/^\uFEFF/, "");
  const rows = split(body, delimiterOf(body)).filter((row) => row.length > 1 || row[0] !== "");
  const header = rows.shift() ?? [];
  return { header, rows };
}

function delimiterOf(text) {
  const first = text.slice(0, 10000).split(/\r?\n/, 1)[0];
  const count = (sign) => first.split(sign).length;
  return [",", "\t", ";"].reduce((best, sign) => (count(sign) > count(best) ? sign : best));
}

function split(text, delimiter) {
  const rows = [];
  let row = [], cell = "", quoted = false, at = 0;
  const special = new RegExp(`["\\r\\n${delimiter === "\t" ? "\\t" : delimiter}]`, "g");
  while (at < text.length) {
    if (quoted) {
      const end = text.indexOf('"', at);
      if (end < 0) throw new Error(`A quotation mark is opened in row ${rows.length} and never closed.`);
      cell += text.slice(at, end);
      at = end + 1;
      if (text[at] === '"') { cell += '"'; at++; } else quoted = false;
      continue;
    }
    special.lastIndex = at;
    const found = special.exec(text);
    if (!found) { cell += text.slice(at); break; }
    cell += text.slice(at, found.index);
    at = found.index + 1;
    if (found[0] === '"') {
      if (cell === "") quoted = true; else cell += '"';
    } else if (found[0] === delimiter) {
      row.push(cell); cell = "";
    } else {
      if (found[0] === "\r" && text[at] === "\n") at++;
      rows.push([...row, cell]); row = []; cell = "";
    }
  }
  if (row.length || cell !== "") rows.push([...row, cell]);
  return rows;
}

// A cell that a spreadsheet would run as a formula gets a ' before it.
const safe = (cell) => (FORMULA.test(cell) ? "'" + cell : cell);

const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

export const write = (rows) =>
  rows.map((row) => row.map((cell) => quoted(safe(cell))).join(",") + "\r\n").join("");
