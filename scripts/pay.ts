// `npm run pay`: one payment, signed and posted as a terminal does, with the request, the answer and the time it took.
import { exitCode, readOptions, runCommand, say, UsedWrongly } from './system/command.ts';
import { readCredentials, readRunFile, serviceOf } from './system/run-file.ts';
import { cardPayment, cards, createNumbering, createTerminal, type Reply } from './system/terminal.ts';

const usage = `Usage: npm run pay -- [--amount 1250] [--currency EUR] [--card 4242…|approved|declined] [--code QRCODE]
                      [--terminal trm_…] [--key IDEMPOTENCY-KEY] [--deadline MS] [--twice] [--data DIR]`;

await runCommand(async () => {
  const { dataDir, values } = readOptions(
    {
      amount: { type: 'string' },
      currency: { type: 'string' },
      card: { type: 'string', default: 'approved' },
      code: { type: 'string' },
      terminal: { type: 'string' },
      key: { type: 'string' },
      deadline: { type: 'string' },
      twice: { type: 'boolean' },
    },
    usage,
  );
  const run = readRunFile(dataDir);
  const merchants = readCredentials(run).merchants;
  const tills = merchants.flatMap((merchant) => merchant.terminals.map((key) => ({ merchant, key })));
  const wanted = values.currency;
  const till = tills.find(({ merchant, key }) =>
    values.terminal === undefined
      ? wanted === undefined || merchant.currencies.includes(wanted)
      : key.terminal_id === values.terminal,
  );
  if (till === undefined)
    throw new UsedWrongly(`No terminal fits. There are:\n${tills.map(({ key }) => `  ${key.terminal_id}`).join('\n')}`);

  const body = cardPayment(createNumbering()(), {
    amount: values.amount === undefined ? 1_000 + (Date.now() % 9_000) : numberOf('--amount', values.amount),
    currency: wanted ?? till.merchant.currencies[0] ?? 'EUR',
    card: values.card === 'approved' || values.card === 'declined' ? cards[values.card] : values.card,
  });
  const paid = values.code === undefined ? body : { ...body, payment_method: { type: 'code', code: values.code } };
  const terminal = createTerminal({ url: serviceOf(run, 'collection').url, key: till.key });
  const signed = terminal.sign('POST', '/v1/payments', JSON.stringify(paid), {
    ...(values.key === undefined ? {} : { idempotencyKey: values.key }),
    ...(values.deadline === undefined ? {} : { deadlineMs: numberOf('--deadline', values.deadline) }),
  });
  say(`${till.merchant.name}, terminal "${till.key.name}"\n`);
  say(`POST ${serviceOf(run, 'collection').url}${signed.path}`);
  for (const [name, value] of Object.entries(signed.headers)) say(`${name}: ${value}`);
  say(`\n${JSON.stringify(paid, null, 2)}\n`);
  const reply = await terminal.send(signed);
  show(reply);
  if (values.twice === true) {
    say('\nThe very same bytes again:\n');
    const again = await terminal.send(signed);
    show(again);
    say(again.text === reply.text ? '\nThe same answer, byte for byte.' : '\nAnother answer.');
  }
  return reply.status < 400 ? exitCode.done : exitCode.checkFailed;
});

/** As it is: a wrong number is the service's to refuse, and worth seeing. */
function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (Number.isNaN(value)) throw new UsedWrongly(`${option} must be a number.\n${usage}`);
  return value;
}

function show({ status, headers, json, text, durationMs }: Reply): void {
  say(`${status} after ${durationMs.toFixed(1)} ms`);
  for (const name of ['content-type', 'idempotent-replayed', 'retry-after', 'location', 'x-request-id'])
    if (headers[name] !== undefined) say(`${name}: ${headers[name]}`);
  say(`\n${Object.keys(json).length === 0 ? text : JSON.stringify(json, null, 2)}`);
}
