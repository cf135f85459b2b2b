// The accounts that development nodes give money to: the standard test mnemonic's first twenty.
import { HDNodeWallet, Mnemonic } from "ethers";
import { MNEMONIC } from "./node.mjs";

export const FUNDED_COUNT = 20;
export const FUNDED_WEI = 10_000n * 10n ** 18n;

const root = HDNodeWallet.fromMnemonic(Mnemonic.fromPhrase(MNEMONIC), "m/44'/60'/0'/0");
const wallets = Array.from({ length: FUNDED_COUNT }, (_, index) => root.deriveChild(index));

export const addresses = wallets.map((wallet) => wallet.address);
export const keys = wallets.map((wallet) => wallet.privateKey);
