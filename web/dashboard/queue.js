// @ts-check
/** The rebuilds that wait, in words. Pure. */

/**
 * @typedef {{id: string, model: string, state: string, position: number | null, trigger: string, by: string, reason: string,
 *   cancelling: boolean}} QueuedJob
 */

/** @type {Record<string, string>} */ const WHY = { count: "new labels", time: "time", drift: "drift" };

/** Those that wait, in their order. @param {QueuedJob[]} jobs */
export function waiting(jobs) {
  return jobs.filter(({ state }) => state === "queued").sort((a, b) => (a.position ?? 0) - (b.position ?? 0));
}

/** What began it. @param {QueuedJob} job */
export function triggerText({ trigger, by, reason }) {
  const who = WHY[trigger] ? `because of ${WHY[trigger]}` : by ? `asked for by ${by}` : "asked for by an operator";
  return reason ? `${who}: ${reason}` : who;
}
