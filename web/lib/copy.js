// @ts-check
/** Names that are too long to type, with a button that copies them. */

import { h, say } from "./dom.js";

const SAID_MS = 1_500;

/** @param {string} text What is copied. @param {string} shown What is to be seen of it. @param {string} what Its name, for screen readers. */
export function copyable(text, shown, what) {
  const code = h("code", { title: text }, shown);
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(button, "Copied");
    } catch {
      // no permission, or no secure context: the reader's own keys copy what is selected
      say(code, text);
      getSelection()?.selectAllChildren(code);
      say(button, "Selected");
    }
    setTimeout(() => say(button, "Copy"), SAID_MS);
  });
  return h("span", { class: "copyable" }, code, button);
}
