// @ts-check
/** Lists that are drawn again and again: only what has changed is replaced, and what a reader has opened or reached stays so. */

const CONTROLS = "summary, button, a[href], input";

/** Show items in a container, an element for each.
 * @template T
 * @param {HTMLElement} container
 * @param {T[]} items
 * @param {(item: T) => string} key Of its element, the same at each call.
 * @param {(item: T) => HTMLElement} draw
 */
export function reconcile(container, items, key, draw) {
  const old = new Map([...container.children].map((element) => [/** @type {HTMLElement} */ (element).dataset.key, /** @type {HTMLElement} */ (element)]));
  items.forEach((item, i) => {
    const name = key(item);
    const content = JSON.stringify(item);
    const before = old.get(name);
    old.delete(name);
    let element = before;
    if (!before || drawn.get(before) !== content) {
      element = draw(item);
      element.dataset.key = name;
      drawn.set(element, content);
      if (before) replace(before, element);
    }
    const there = container.children[i];
    if (element && there !== element) container.insertBefore(element, there ?? null);
  });
  for (const gone of old.values()) gone.remove();
}

/** What each element was drawn from. @type {WeakMap<HTMLElement, string>} */
const drawn = new WeakMap();

/** @param {HTMLElement} before @param {HTMLElement} after */
function replace(before, after) {
  const opened = [...before.querySelectorAll("details")].filter(({ open }) => open).map(({ dataset }) => dataset.name);
  for (const details of after.querySelectorAll("details")) details.open = opened.includes(details.dataset.name);
  const reached = [...before.querySelectorAll(CONTROLS)].indexOf(/** @type {Element} */ (document.activeElement));
  before.replaceWith(after);
  const control = reached >= 0 ? after.querySelectorAll(CONTROLS)[reached] : null;
  if (control instanceof HTMLElement) control.focus({ preventScroll: true });
}
