//! What test files may import, and when.

use super::process::run;
use super::{app, test_file, text};

#[test]
fn a_file_awaits_at_its_top_level_and_imports_when_it_runs() {
    let body = r#"
const { double } = await import("./lib/double.js");
const word = await new Promise((resolve) => setTimeout(resolve, 60_000, "later"));
test(`named ${word}`, async () => {
  expect(double(2)).toBe(4);
  const data = await import("./data.json", { with: { type: "json" } });
  expect(data.default).toEqual({ a: 1 });
  expect((await import("/lib/served.js")).default).toBe("of the app");
  expect(import.meta.resolve("./other.js")).toMatch(/\/tests\/other\.js$/);
  await expect(import("./gone.js")).rejects.toThrow("gone.js was not imported: No such file");
  await expect(import("./lib/broken.js")).rejects.toThrow("Unexpected token");
  await expect(import("node:fs")).rejects.toThrow("a test runs in a page");
});"#;
    let app = app(&[
        ("index.html", ""),
        ("lib/served.js", "export default 'of the app';"),
        ("tests/a.test.js", &test_file(body)),
        ("tests/data.json", r#"{ "a": 1 }"#),
        ("tests/lib/double.js", "export const double = (number) => 2 * number;"),
        ("tests/lib/broken.js", "export let;"),
    ]);
    let text = text(&run(app.path(), &["test"]).expect_code(0));
    assert!(text.contains("✓ named later"), "{text}");
}

#[test]
fn packages_are_imported_by_their_names() {
    let body = r#"
import { answer } from "modern";
import part from "@scope/parts/one";
test("packages", () => expect([answer, part]).toEqual([42, "one"]));"#;
    let exports = r#"{ "exports": { "require": "./no.cjs", "import": "./lib/yes.js" } }"#;
    let parts = r#"{ "type": "module", "exports": { "./*": { "browser": "./parts/*.js" } } }"#;
    let app = app(&[
        ("tests/a.test.js", &test_file(body)),
        ("node_modules/modern/package.json", exports),
        ("node_modules/modern/lib/yes.js", "export { answer } from './answer.js';"),
        ("node_modules/modern/lib/answer.js", "export const answer = 42;"),
        ("node_modules/@scope/parts/package.json", parts),
        ("node_modules/@scope/parts/parts/one.js", "export default 'one';"),
        ("node_modules/old/package.json", r#"{ "main": "index.js" }"#),
        ("node_modules/old/index.js", "module.exports = {};"),
        ("old/b.test.js", "import 'old';"),
        ("old/c.test.js", "import './lib';"),
        ("old/lib.js", ""),
        ("old/d.test.js", "import 'modern/other';"),
    ]);
    let text = text(&run(app.path(), &["test"]).expect_code(1));
    for part in [
        "✓ packages",
        "index.js was not imported: it is a CommonJS module",
        "there is lib.js, which is its whole name",
        "does not export \"modern/other\"",
        "3 failed, 1 passed",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
