// `npx ballast …` (or `npm run ballast -- …`): what operators do at a terminal. Every change names its reason and ends by
// itself; the answer names the processes that have applied it and those that have not.
import { ChangeRefused, ControlUnavailable, SignInRefused, VersionConflict } from '@ballast/control';
import { audit, instances, restored } from './ballast/audit.ts';
import { channel } from './ballast/channel.ts';
import { drill } from './ballast/drill.ts';
import { type Operator, openOperator, options } from './ballast/operator.ts';
import { confirm, operators, proposal } from './ballast/operators.ts';
import { override } from './ballast/override.ts';
import { reader } from './ballast/reader.ts';
import { rules } from './ballast/rules.ts';
import { source } from './ballast/source.ts';
import { type ExitCode, exitCode, readOptions, runCommand, say, UsedWrongly } from './system/command.ts';

const usage = `Usage: npx ballast COMMAND …

  channel list                        all channels: what is set, who follows
  channel show BANK                   its version, overrides, rules and where each comes from
  channel open BANK                   opens it for traffic: ends every gate in force
  channel close BANK                  takes no payments any more (the same as force-open: the breaker stands open)
  channel force-open BANK             the breaker stands open: nothing passes but inquiries and reversals
  channel force-closed BANK           the breaker stands closed: everything passes, whatever it sees  (--confirm BANK, two people)
  channel percent BANK PERCENT        so many percent of the payments pass
  channel drain BANK                  nothing new passes, what is in flight ends
  channel metrics-only BANK           the breaker measures and refuses nothing  (--confirm BANK, two people)
  channel maintenance BANK            a window in which nothing passes  (--in 2h: it begins later)
  channel limit BANK                  --per-second N (the whole cluster)  --in-flight N (each process)
  channel probe BANK | channel reset BANK   an open breaker probes, or closes, now
  channel history BANK                every change and every try
  override list [BANK]  |  override end ID
  rules get [TARGET]  |  rules put TARGET FILE  |  rules drop TARGET      channel:bank_a:pay, shadow:bank_a:pay, limiter:merchant
  drill list [BANK]  |  drill stop ID
  drill start BANK FAULT --for 10m    latency --ms N, timeout, reset, server_error --status N, wrong_amount,
                                      duplicate_answer, trickle --bytes-per-second N;  --share 0.1  --all-traffic
                                      --stop-failure-rate 0.5 --stop-slowest-ms N --stop-breaker-opens --stop-minimum-calls N
  confirm PROPOSAL  |  proposal list [BANK]        what takes a second person is asked for by one and confirmed by another
  operator list  |  operator add NAME --role viewer|operator|admin
  operator role NAME --role ROLE  |  operator password NAME  |  operator disable NAME  |  operator enable NAME
  operator first-admin NAME           where there is no operator yet  (a new password: BALLAST_NEW_PASSWORD, or typed)
  reader list                         who reads the journal, how far each is, which old days are held by whom
  reader retire NAME  |  reader reinstate NAME      one that is gone for good holds no old day any more
                       (--force: although it was heard of within the hour, or only its slot is known)
  source show                         the order database's generation, and every time it was raised
  source new-generation               after a restore by hand: consumers take back what is lost  (--restored-to TIME of the backup;
                                      without it, or in doubt: everything is delivered again)
  audit [TARGET] [--verify [--anchor SEQ:HASH]]
  instances                           who follows, what each applies
  restored                            after a restore: what the control database holds now counts, also where it is older

  Every change:  --reason TEXT (required)  --for 30m (at most 24h)  --operations pay,refund  --if-match VERSION
                 --break-glass (alone, where it takes two: at once, audited and alarmed)
                 --as NAME (or BALLAST_OPERATOR; the password is BALLAST_PASSWORD, or typed; the demo knows its own)
                 --data DIR or --control-url URL`;

const commands: Readonly<Record<string, (operator: Operator) => Promise<ExitCode>>> = {
  channel,
  override,
  confirm,
  proposal,
  operator: operators,
  rules,
  drill,
  reader,
  source,
  audit,
  instances,
  restored,
};

await runCommand(async () => {
  const { dataDir, values, words } = readOptions(options, usage);
  const [name = '', ...rest] = words;
  const command = commands[name];
  if (values.help === true || name === 'help') {
    say(usage);
    return exitCode.done;
  }
  if (command === undefined) throw new UsedWrongly(`There is no command "${name}".\n\n${usage}`);
  const operator = openOperator({ dataDir, values, words: rest });
  try {
    return await command(operator);
  } catch (error) {
    if (error instanceof ChangeRefused || error instanceof SignInRefused)
      throw new UsedWrongly(`Refused, and recorded: ${error.message}`);
    if (error instanceof VersionConflict || error instanceof ControlUnavailable) {
      process.stderr.write(`ballast: ${error.message}\n`);
      return error instanceof VersionConflict ? exitCode.checkFailed : exitCode.couldNotRun;
    }
    throw error;
  } finally {
    await operator.store.close();
  }
});
