export {
  type HttpChannel,
  type HttpChannelOptions,
  type Operation,
  openHttpChannel,
} from './ballast-http.ts';
export type {
  BankChannel,
  CallOptions,
  ChannelRefusal,
  Charge,
  ChargeIdentity,
  ChargeOutcome,
  Evidence,
  InquiryOutcome,
  Instrument,
  LateAnswer,
  ReversalOutcome,
} from './bank-channel.ts';
export { builtInRules } from './built-in-rules.ts';
export { type ChannelEntry, channelsFileSchema } from './channels-file.ts';
