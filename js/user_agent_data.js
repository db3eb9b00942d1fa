// User-Agent Client Hints: https://wicg.github.io/ua-client-hints/
//
// Invariant: what it says agrees with navigator.userAgent and navigator.platform.

import { core, primordials } from "ext:core/mod.js";
import {
  assertThis,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const {
  ArrayPrototypeIncludes,
  ArrayPrototypeMap,
  ArrayPrototypePush,
  ObjectFreeze,
  RegExpPrototypeExec,
  SafeRegExp,
} = primordials;

const chromiumVersion = new SafeRegExp(/Chrome\/(\d+)/);

// https://wicg.github.io/ua-client-hints/#navigatoruadata
export class NavigatorUAData {
  #brands;
  #highEntropy;

  constructor(key = undefined, userAgent = undefined) {
    requireHostKey(key, "NavigatorUAData");
    this[webidl.brand] = webidl.brand;
    const version = RegExpPrototypeExec(chromiumVersion, userAgent)?.[1];
    const all = [{ brand: "Not:A-Brand", version: "8" }];
    if (version !== undefined) ArrayPrototypePush(all, { brand: "Chromium", version });
    this.#brands = ObjectFreeze(ArrayPrototypeMap(all, (each) => ObjectFreeze(each)));
    this.#highEntropy = {
      architecture: core.build.arch === "aarch64" ? "arm" : "x86",
      bitness: "64",
      formFactors: ["Desktop"],
      fullVersionList: ArrayPrototypeMap(
        all,
        ({ brand, version }) => ({ brand, version: `${version}.0.0.0` }),
      ),
      model: "",
      platformVersion: "",
      uaFullVersion: `${version ?? 8}.0.0.0`,
      wow64: false,
    };
  }

  get brands() {
    return this.#brands;
  }

  get mobile() {
    webidl.assertBranded(this, NavigatorUAData.prototype);
    return false;
  }

  get platform() {
    webidl.assertBranded(this, NavigatorUAData.prototype);
    return "Linux";
  }

  // https://wicg.github.io/ua-client-hints/#getHighEntropyValues
  async getHighEntropyValues(hints) {
    const prefix = "Failed to execute 'getHighEntropyValues' on 'NavigatorUAData'";
    assertThis(this, NavigatorUAData, prefix);
    requireArguments(arguments.length, 1, prefix);
    const wanted = ArrayPrototypeMap([...hints], (hint) => string(hint, prefix));
    const values = this.toJSON();
    for (const name in this.#highEntropy) {
      if (ArrayPrototypeIncludes(wanted, name)) values[name] = this.#highEntropy[name];
    }
    return values;
  }

  // https://wicg.github.io/ua-client-hints/#dom-navigatoruadata-tojson
  toJSON() {
    return {
      brands: ArrayPrototypeMap(this.#brands, (each) => ({ ...each })),
      mobile: this.mobile,
      platform: this.platform,
    };
  }
}
webidl.configureInterface(NavigatorUAData);

export function createUserAgentData(userAgent) {
  return new NavigatorUAData(hostKey, userAgent);
}
