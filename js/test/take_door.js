// `kittiwake:test/door`: takes the door off the global before a script of a user runs.

const door = globalThis.__kittiwakeTest;
delete globalThis.__kittiwakeTest;

export const { ask, call, inspect, onMessage, wanted } = door;
