// Runs named cases and prints what became of each as one JSON object.

export const { KEYTURN_URL: url, KEYTURN_GRPC: grpc, KEYTURN_TOKEN: token } = process.env;

export async function report(cases, describeError) {
  const told = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      told[name] = { ok: await run() };
    } catch (error) {
      told[name] = { error: describeError(error) };
    }
  }
  console.log(JSON.stringify(told));
  process.exit(0);
}
