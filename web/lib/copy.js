// @ts-check
/** Names that are too long to type, with a button that copies them. */

import { h, say } from "./dom.js";

const SAID_MS = 1_500;

/** What a button says instead of Copy for a moment, by its label: the button may be drawn anew meanwhile. @type {Map<string, string>} */
const said = new Map();

/** @param {string} label Of the buttons that are to say it. @param {string | null} word Null: as at first. */
function tell(label, word) {
  if (word === null) said.delete(label);
  else said.set(label, word);
  for (const button of document.querySelectorAll("button.copy")) {
    if (button instanceof HTMLElement && button.getAttribute("aria-label") === label) say(button, word ?? "Copy");
  }
}

/** @param {string} text What is copied. @param {string} shown What is to be seen of it. @param {string} what Its name, for screen readers. */
export function copyable(text, shown, what) {
  const code = h("code", { title: text }, shown);
  const label = `Copy ${what}`;
  const button = h("button", { type: "button", class: "copy", "aria-label": label }, said.get(label) ?? "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      tell(label, "Copied");
    } catch {
      // no permission, or no secure context: the reader's own keys copy what is selected
      say(code, text);
      getSelection()?.selectAllChildren(code);
      tell(label, "Selected");
    }
    setTimeout(() => tell(label, null), SAID_MS);
  });
  return h("span", { class: "copyable" }, code, button);
}
