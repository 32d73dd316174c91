// Making elements. Whatever comes from people, files or models goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// An alert is announced when its text changes, so it is emptied before it is hidden.
export function tell(node, message) {
  node.textContent = message;
  node.hidden = !message;
}

export const number = (value) => value.toLocaleString("en");

export const score = (value) => (value == null ? "\u2013" : value.toFixed(2));

export function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// A field that also takes what is dropped on the box around it.
export function takesFiles(box, field, take) {
  // Emptied before a choice, so that the same file can be chosen again and its name stays shown.
  field.addEventListener("click", () => { field.value = ""; });
  field.addEventListener("change", () => { if (field.files.length) take(field.files[0]); });
  for (const kind of ["dragenter", "dragover"]) {
    box.addEventListener(kind, (event) => { event.preventDefault(); box.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) {
    box.addEventListener(kind, () => box.classList.remove("over"));
  }
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer.files.length) return;
    field.files = event.dataTransfer.files;
    take(field.files[0]);
  });
}

// The bytes of a file as text; UTF-8 or nothing, as a wrong guess would garble every row.
export async function readText(file) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is not UTF-8 text. Save it as UTF-8 and choose it again.`);
  }
}
