// @ts-check
/** The frames of /ws/play and /ws/watch and the answers of /api/models and /api/endpoints, as types; the server's side is in
 * api/. Nothing runs here.
 *
 * @typedef {"batch" | "online" | "personal" | "blend"} Kind
 * @typedef {"shown" | "shadow" | "off"} Part
 *
 * @typedef {object} Model One that may guess.
 * @property {string} model
 * @property {string | null} version The one that answers; null: its guesses carry it, or there is none yet.
 * @property {string} title
 * @property {boolean} [lead] Whether every player is shown it first.
 * @property {Kind} [kind]
 * @property {number | null} [hue] Of its colour, in degrees on the circle of OKLCH; null: it has that of ink.
 * @property {number} [order] Its place among all.
 * @property {Part} [part]
 * @property {string | null} [resting] Why it rests; null: it does not.
 * @property {string | null} [unavailable] Why it cannot be here; null: it can.
 * @property {string | null} [frozen] Who froze its learning, and why; null: it learns.
 *
 * @typedef {{version_before: string, version_after: string, p_before: number, p_after: number}} Change
 *
 * @typedef {{type: "joined", player_id: string, seat: string, room: string | null, models: Model[]}} Joined
 * @typedef {{type: "saved", drawing_id: string}} Saved
 * @typedef {{type: "question", digit: number}} Question The digit to draw next.
 * @typedef {{type: "check", drawing_id: string}} Check Chance has picked this drawing: was the guess right?
 *
 * @typedef {object} Guess
 * @property {"guess"} type
 * @property {string} drawing_id
 * @property {string} model
 * @property {string} version
 * @property {number} label
 * @property {number} confidence
 * @property {number[]} probabilities
 * @property {boolean} final
 * @property {Record<string, number>} hops
 * @property {string | null} [fallback] Why this version answered in the place of another.
 * @property {"champion" | "canary"} [role]
 * @property {string | null} [lead] The model that this player is shown first.
 * @property {Record<string, string>} [left_out] On a blend: the models that it leaves out, and why.
 *
 * @typedef {{type: "missed", drawing_id: string, model: string, resting: boolean, why: string}} Missed
 * @typedef {{type: "receipt", correction_id: string, drawing_id: string,
 *   outcome: "learned" | "weighted" | "quarantined" | "superseded" | "refused", models: Record<string, Change>,
 *   weight?: number, why?: string, frozen?: boolean}} Receipt One of those that write of a correction; why: of one that is refused, or counts less.
 * @typedef {"published" | "promoted" | "rolled-back" | "canary" | "shadow" | "untried" | "policy" | "resting" | "back" |
 *   "available" | "unavailable" | "frozen" | "thawed" | "learned" | "endpoint"} ModelNews
 * @typedef {{type: "model", event: ModelNews, note: string} & Model} ModelChanged The whole model after the change.
 * @typedef {{type: "room", room: string, players: string[]}} Room
 *
 * @typedef {object} MemoryCard What the player's own model remembers of them.
 * @property {"card"} type
 * @property {string} request_id That of the reset, if this says that it is done.
 * @property {string} version
 * @property {number} lessons
 * @property {number} most How many drawings it remembers at most.
 * @property {number} size In bytes.
 * @property {number} both Labelled drawings on which the player saw both this model and the shared one.
 * @property {number} own_alone On how many of them only this model was right.
 * @property {number} shared_alone
 * @property {number | null} lift By how much a larger share this model got right; null: there is nothing to compare.
 * @property {number | null} low The 95 per cent interval.
 * @property {number | null} high
 * @property {string | null} reset_until What was drawn up to this time is forgotten.
 *
 * @typedef {{type: "memory", format: string, at: string} & Record<string, unknown>} MemoryFile All that it remembers, for people to keep.
 * @typedef {{type: "code", code: string, valid_s: number}} SeatCode For another device.
 *
 * @typedef {{type: "error", code: string, message: string, drawing_id?: string | null}} Failure
 * @typedef {{type: "forgotten"}} Forgotten This player's seat is no longer valid.
 * @typedef {Joined | Saved | Forgotten | Question | Check | Guess | Missed | Receipt | ModelChanged | Room | MemoryCard | MemoryFile |
 *   SeatCode | Failure} PlayFrame
 *
 * @typedef {object} Score Counts since the start, absolute.
 * @property {number} n
 * @property {number} correct
 * @property {number[]} confusion 100 counts, row: the player's label, column: the guess.
 * @property {number[]} latency 12 counts; LATENCY_MS has their upper bounds.
 * @property {Record<string, {n: number, correct: number}>} versions A shadow's count stands under `<version>/shadow`.
 * @property {[number, number, number][]} recent Windows of ten seconds: start (Unix seconds), n, correct.
 *
 * @typedef {object} Estimate By drawings that chance picked.
 * @property {number} picked
 * @property {number} known Those of which the digit is known.
 * @property {number | null} share Null: nothing is known; so of the others.
 * @property {number | null} low The interval holds however often one looks.
 * @property {number | null} high
 * @property {number | null} least The share if all that are not known were wrong.
 * @property {number | null} most
 *
 * @typedef {object} Honest How often a model is right, as it is.
 * @property {Estimate} whole Of the drawings that the server asked for, if there are any.
 * @property {Estimate} free Of those drawn freely.
 * @property {number} silent Of `unasked`, those whose players did not say what they were.
 * @property {number} unasked Picked drawings that the server had not asked for.
 * @property {Record<string, Estimate>} versions
 * @property {Estimate[]} digits Ten.
 * @property {number[]} confusion
 * @property {{at: number, estimate: Estimate}[]} recent Each of the quarter of an hour up to a time, in Unix seconds.
 *
 * @typedef {{hyperparameters: Record<string, string>, status: string, accuracy: number | null, seconds: number, cost: number | null,
 *   kept: boolean}} Tried
 * @typedef {{version: string, step: string, fraction: number, message: string, tried?: Tried[]}} Training
 * @typedef {{type: "snapshot", models: Model[], scores: Record<string, Score>, online: number, drawings: number,
 *   training: Record<string, Training>, honest: Record<string, Honest>}} Snapshot
 * @typedef {{type: "honest", honest: Record<string, Honest>}} HonestChanged
 * @typedef {{type: "scores", scores: Record<string, Score>}} Scores
 * @typedef {{type: "training", model: string, log?: string[]} & Training} TrainingAdvanced
 * @typedef {{type: "online", online: number, drawings: number}} Online
 * @typedef {Snapshot | Scores | HonestChanged | ModelChanged | TrainingAdvanced | Online} WatchFrame
 */

export {};
