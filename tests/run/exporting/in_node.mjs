// node in_node.mjs NET.onnx INPUT.bin SHAPE: the outputs as JSON, by onnxruntime-web
import fs from "node:fs";
import * as ort from "onnxruntime-web";

const [file, input, shape] = process.argv.slice(2);
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(fs.readFileSync(file));
const pixels = new Uint8Array(fs.readFileSync(input));
const found = await session.run({ image: new ort.Tensor("uint8", pixels, JSON.parse(shape)) });
const outputs = session.outputNames.map((name) => Array.from(found[name].data, Number));
console.log(JSON.stringify(outputs));
