// What people read, from what programs write.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

export const number = (n) => (n < 1e6 ? whole.format(n) : short.format(n));

// rate keeps a decimal where one says something.
export const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : number(n));

// span is a duration in ms in its two largest units.
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${pad(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${pad(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${pad(Math.floor(s / 3600) % 24)}h`;
}

const pad = (n) => String(n).padStart(2, "0");

// since is the time from the beginning of a stream, exactly where that is early.
export function since(ms) {
  if (ms < 60000) return `+${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)}s`;
  if (ms < 3600000) return `+${Math.floor(ms / 60000)}m ${((ms % 60000) / 1000).toFixed(1).padStart(4, "0")}s`;
  return `+${span(ms)}`;
}

export const clock = (t) => new Date(t).toLocaleTimeString("en-GB");

export const count = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return "";
}

// Outcomes and states: how bad, and in words.
const tones = {
  live: ["good", "live"], opening: ["", "opening"], resuming: ["warn", "resuming"], draining: ["warn", "draining"],
  copied: ["bad", "copied after a fault"],
  complete: ["", "complete"], resumed: ["good", "complete, resumed"], client_gone: ["", "client left"], drained: ["", "drained"],
  passed: ["warn", "passed through"], gap: ["bad", "gap"], cut: ["bad", "cut"],
};

export const tone = (stream) => tones[stream.outcome || stream.state] || ["", stream.outcome || stream.state];

export const hostTones = { closed: ["good", "in use"], open: ["bad", "ejected"], half_open: ["warn", "being probed"] };

export const trusts = {
  absent: "no ids: nothing to resume behind",
  unique: "unique ids",
  monotonic: "ids in ascending order",
  constant: "the same id on every event: of no use for a resume",
  restarting: "ids that begin anew: of no use for a resume",
};

// moments are the kinds of a timeline's entries: mark, tone, words.
const failures = { reset: "upstream reset", refused: "no answer from upstream", clean_end: "upstream ended", unresumable: "cannot be resumed" };
const results = {
  resumed: ["✓", "good", "resumed: what was missing came"],
  confirmed: ["✓", "good", "confirmed: nothing was missing"],
  needless: ["·", "", "needless: upstream was well"],
  refused: ["✗", "warn", "no answer"],
  unavailable: ["✗", "warn", "upstream cannot now"],
  denied: ["✗", "bad", "upstream will not"],
  unresumable: ["✗", "bad", "there is no request that goes on behind this"],
  broken: ["✗", "warn", "broke off before anything new"],
  unproven: ["✗", "bad", "what came does not continue what was sent"],
  abandoned: ["·", "", "given up: the stream was over"],
};

export function moment(m) {
  switch (m.what) {
    case "opened": return ["○", "", "opened"];
    case "failed": return ["✗", m.text === "clean_end" ? "warn" : "bad", failures[m.text] || m.text];
    case "resuming": return ["↻", "warn", `asked for the rest ${m.text}`];
    case "answered": return ["←", m.text.startsWith("2") && !m.text.includes(",") ? "" : "warn", `answer: ${m.text}`];
    case "result": return results[m.text] || ["·", "", m.text];
    case "ids": return ["#", "", trusts[m.text] || m.text];
    case "overlap": return ["=", "", "repeats are being dropped"];
    case "overlap_end": return ["=", "", "end of the repeats"];
    case "heartbeat": return ["♥", "", "comment into a silence"];
    case "stalled": return ["…", "bad", `upstream is silent (${m.text})`];
    case "oversize": return ["▣", "warn", "an event too large to be held back"];
    case "draining": return ["⇥", "warn", "asked to end: this process drains"];
    case "fault": return ["!", "bad", "a fault of ours: copied from here on"];
    case "ended": return ["■", tone({ outcome: m.text })[0], `ended: ${tone({ outcome: m.text })[1]}`];
    default: return ["·", "", `${m.what} ${m.text || ""}`];
  }
}
