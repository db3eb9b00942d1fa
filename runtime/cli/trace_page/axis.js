// Where in time an event is drawn: in the order of events, or as time passed.
//
// Invariant: positions never decrease from one event to the next, in either axis.

"use strict";

/** The index of the first value that has passed a border, of values in order. */
function firstIndex(values, hasPassed) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (hasPassed(values[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Each event has a place of its own; a wait is a little longer the longer it was. */
class EventAxis {
  /** Pixels that a place should have, so that marks do not touch. */
  static unit = 30;

  constructor(events) {
    this.events = events;
    let position = 0;
    this.positions = events.map((event, index) => {
      const passed = index === 0 ? event.at_ms : event.at_ms - events[index - 1].at_ms;
      if (index > 0) position += 1;
      if (passed > 0) position += Math.min(3, 0.5 + 0.35 * Math.log10(1 + passed));
      return position;
    });
    this.length = position + 1.5;
  }

  at(index) {
    return index < 0 ? -0.5 : this.positions[index];
  }

  /** Where a moment is: after the events of that time. */
  time(ms) {
    const next = firstIndex(this.events, ({ at_ms: at }) => at > ms);
    if (next === this.events.length) return this.length;
    const before = next === 0 ? 0 : this.events[next - 1].at_ms;
    const from = this.at(next - 1);
    const share = (ms - before) / (this.events[next].at_ms - before);
    return from + (this.positions[next] - from) * share;
  }

  fit(pixels) {
    return pixels / this.length;
  }

  first(pixels) {
    return Math.max(this.fit(pixels), EventAxis.unit);
  }

  get widest() {
    return 400;
  }

  /** The first event of each time between two positions, with the wait before it. */
  *ticks(scale, from, to) {
    const first = firstIndex(this.positions, (position) => position >= from);
    for (let index = first; index < this.events.length; index++) {
      const { at_ms: at } = this.events[index];
      const before = index === 0 ? 0 : this.events[index - 1].at_ms;
      if (index > 0 && before === at) continue;
      const tick = { position: this.positions[index], text: timeText(at) };
      if (at > before) {
        tick.wait = timeText(at - before);
        tick.waitFrom = this.at(index - 1);
      }
      yield tick;
      // The wait that leaves the view is still seen in part.
      if (tick.position > to) return;
    }
  }
}

const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000,
  300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000,
  86_400_000, 172_800_000, 604_800_000,
];

/** As time passed. */
class LinearAxis {
  constructor(events) {
    this.events = events;
    this.length = Math.max(1, (events.at(-1)?.at_ms ?? 0) * 1.02);
  }

  at(index) {
    return index < 0 ? 0 : this.events[index].at_ms;
  }

  time(ms) {
    return ms;
  }

  fit(pixels) {
    return pixels / this.length;
  }

  first(pixels) {
    return this.fit(pixels);
  }

  /** A browser draws nothing that is wider than some million pixels. */
  get widest() {
    return Math.min(100, 8_000_000 / this.length);
  }

  /** Round times between two positions, far enough apart to be read. */
  *ticks(scale, from, to) {
    const enough = 90 / scale;
    const week = STEPS.at(-1);
    const step = STEPS.find((each) => each >= enough) ?? Math.ceil(enough / week) * week;
    for (let ms = Math.max(0, Math.floor(from / step)) * step; ms <= to; ms += step) {
      yield { position: ms, text: timeText(ms) };
    }
  }
}
