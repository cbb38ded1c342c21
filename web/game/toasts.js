// @ts-check
/** Notes that come and go by themselves. */

import { h } from "../lib/dom.js";
import { colour } from "../lib/models.js";
import { page } from "./elements.js";

const TOAST_MS = 7000;
const MOST = 4;

/** Show a note for a while.
 * @param {string} text
 * @param {string | null} model Whom it is of; null: of none.
 * @param {boolean} wrong Whether something went wrong.
 */
export function toast(text, model, wrong = model === null) {
  const close = h("button", { type: "button", "aria-label": "Dismiss" }, "✕");
  const note = h("div", { class: wrong ? "toast failure" : "toast", ...(model && { ...colour(model) }) }, h("p", {}, text), close);
  const gone = setTimeout(() => note.remove(), TOAST_MS);
  close.addEventListener("click", () => {
    clearTimeout(gone);
    note.remove();
  });
  page.toasts.append(note);
  if (page.toasts.childElementCount > MOST) page.toasts.firstElementChild?.remove();
}
