// The two stories, told on a running node, and everything verified afterwards.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bletchley, events } from "../command.mjs";
import { isAnvil, startNode } from "../node.mjs";

const options = { skip: isAnvil && "the stories are ours" };

let node;

before(async () => {
  if (!isAnvil) node = await startNode();
});
after(() => node?.stop());

async function told(...args) {
  const outcome = await bletchley("demo", ...args, "--data", node.data);
  assert.equal(outcome.code, 0, `${outcome.stdout}\n${outcome.stderr}`);
  return outcome.stdout;
}

describe("bletchley demo", options, () => {
  for (const currency of ["USD", "GBP", "JPY"]) {
    test(`loan, repaid in ${currency}`, async () => {
      const text = await told("loan", "--currency", currency);
      assert.match(text, new RegExp(currency));
      assert.doesNotMatch(text, /panicked|internal error/i);
    });
  }

  test("supply-chain", async () => {
    const text = await told("supply-chain");
    assert.match(text, /screw/i);
    assert.match(text, /phone/i);
    assert.match(text, /refused/i);
  });

  test("the same in JSON", async () => {
    const outcome = await bletchley("demo", "supply-chain", "--json", "--data", node.data);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.ok(events(outcome).length > 0);
  });
});

describe("afterwards", options, () => {
  test("the whole history verifies, cryptlet calls run again included", async () => {
    const folder = node.data;
    await node.kill();
    const outcome = await bletchley("verify", folder, "--reexecute");
    assert.equal(outcome.code, 0, `${outcome.stdout}\n${outcome.stderr}`);
    node = await startNode({ data: folder });
    assert.ok(Number(await node.request("eth_blockNumber")) > 24);
  });
});
