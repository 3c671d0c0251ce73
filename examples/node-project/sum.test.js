import assert from "node:assert";
import test from "node:test";
import { sum } from "./sum.js";

test("sums what it is given", () => assert.equal(sum(1, 2, 3), 6));
test("sums nothing to zero", () => assert.equal(sum(), 0));
