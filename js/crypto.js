// Crypto and its keys: https://w3c.github.io/webcrypto/
//
// Invariant: scripts reach no more of deno_crypto's classes than the specification has. Their
// static methods make keys of any bytes, and read keys that must not be exported.

import { core, internals, primordials } from "ext:core/mod.js";
import { webidl } from "ext:kittiwake/webidl.js";

const { ReflectApply, Symbol } = primordials;

internals.kKeyObject = Symbol("kKeyObject"); // before deno_crypto, or its keys lose their brand
export const { Crypto, CryptoKey, SubtleCrypto } = core.loadExtScript(
  "ext:deno_crypto/00_crypto.js",
);
const { create, registerSymbols } = Crypto;
const { create: createSubtle } = SubtleCrypto;
const { fromCloneData } = CryptoKey;
for (const name of ["create", "registerSymbols"]) delete Crypto[name];
for (const name of ["exportNodeMaterial", "fromCloneData", "importSync"]) delete CryptoKey[name];
delete SubtleCrypto.create;

core.getCloneableDeserializers().CryptoKey = (data) => {
  ownCrypto();
  return ReflectApply(fromCloneData, CryptoKey, [data]);
};

let own;

/** The realm's `crypto`. It cannot be made while a snapshot is. */
export function ownCrypto() {
  if (own === undefined) {
    core.ops.op_keys_mark(() => {
      ReflectApply(registerSymbols, Crypto, [webidl.brand, internals.kKeyObject]);
    });
    const subtle = branded(ReflectApply(createSubtle, SubtleCrypto, []));
    own = branded(ReflectApply(create, Crypto, [subtle]));
  }
  return own;
}

function branded(object) {
  object[webidl.brand] = webidl.brand;
  return object;
}
