// What this browser remembers of how a person likes to work; no text, no key.

const NAME = "tactful.settings";
const THEMES = ["auto", "light", "dark"];
const wanted = { theme: "auto", show: false, keep: false };

try {
  Object.assign(wanted, JSON.parse(localStorage.getItem(NAME)));
} catch { /* storage is off: everything starts as it comes */ }

export const setting = (name) => wanted[name];

export function set(name, value) {
  wanted[name] = value;
  try {
    localStorage.setItem(NAME, JSON.stringify(wanted));
  } catch { /* remembered until the tab is closed */ }
}

export const nextTheme = () => THEMES[(THEMES.indexOf(wanted.theme) + 1) % THEMES.length];
