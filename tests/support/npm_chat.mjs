// Talks to a server through the `ai` package and prints what came of it as JSON.
// node npm_chat.mjs ADDRESS CLIENT: CLIENT is "openai-compatible" or "open-responses"; packages lie in NODE_PACKAGES.
import { createRequire } from "node:module";

const [address, client] = process.argv.slice(2);
const require = createRequire(`${process.env.NODE_PACKAGES}/package.json`);
const { generateText, streamText, tool, jsonSchema } = require("ai");

function model() {
  if (client === "open-responses") {
    const { createOpenResponses } = require("@ai-sdk/open-responses");
    return createOpenResponses({ name: "spiritsafe", url: `${address}/v1/responses`, apiKey: "k" })("fake");
  }
  const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
  return createOpenAICompatible({ name: "spiritsafe", baseURL: `${address}/v1`, apiKey: "k", includeUsage: true })(
    "fake",
  );
}

const said = {};
const whole = await generateText({ model: model(), prompt: "Hi.", maxOutputTokens: 20, temperature: 0.5, maxRetries: 0 });
said.whole = { text: whole.text, thought: whole.reasoningText, reason: whole.finishReason, usage: whole.usage };

const stream = streamText({ model: model(), prompt: "Hi.", maxRetries: 0 });
const kinds = [];
for await (const part of stream.fullStream) kinds.push(part.type);
said.streamed = { text: await stream.text, thought: await stream.reasoningText, kinds, usage: await stream.usage };

const weather = tool({
  description: "Of a town.",
  inputSchema: jsonSchema({ type: "object", properties: { town: { type: "string" } }, required: ["town"] }),
  execute: async ({ town }) => `rain in ${town}`,
});
for (const run of [generateText, streamText]) {
  const called = await run({
    model: model(),
    prompt: "Call the tool.",
    tools: { weather },
    stopWhen: ({ steps }) => steps.length === 2,
    maxRetries: 0,
  });
  const steps = await called.steps;
  said[run === generateText ? "called" : "called in a stream"] = {
    calls: steps[0].toolCalls.map(({ toolName, input }) => ({ toolName, input })),
    results: steps[0].toolResults.map(({ output }) => output),
    text: await called.text,
  };
}

try {
  const image = { type: "image", image: new Uint8Array([137, 80, 78, 71]) };
  await generateText({ model: model(), messages: [{ role: "user", content: [image] }], maxRetries: 0 });
} catch (error) {
  said.refused = { status: error.statusCode, body: JSON.parse(error.responseBody), message: error.message };
}
console.log(JSON.stringify(said));
