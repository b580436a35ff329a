export { type IdPrefix, idSchema, publicId, uuidOf } from './ids.ts';
export {
  type MerchantAttempt,
  type MerchantOrder,
  type MerchantOrderEvent,
  type MerchantOrderList,
  type MerchantOrderStory,
  merchantOrderListSchema,
  merchantOrderSchema,
  merchantOrderStorySchema,
} from './merchant-order.ts';
export { amountSchema, amountToJson, type Currency, currencyDigits, currencySchema, MAX_AMOUNT } from './money.ts';
export {
  cloudEventType,
  type DeliveredMessage,
  type Delivery,
  type DeliveryReply,
  deliveryReplySchema,
  deliverySchema,
  type OrderEvent,
  type OrderEventType,
  type OrderState,
  orderEventSchema,
  orderEventTypes,
  orderStateSchema,
  type Watermark,
  watermarkSchema,
} from './order-event.ts';
export {
  batchNumberSchema,
  type FinalAnswer,
  finalAnswers,
  instantSchema,
  type OrderStatus,
  orderStatuses,
  type Payment,
  type PaymentMethod,
  type PaymentRequest,
  paymentRequestSchema,
  paymentSchema,
  traceNumberSchema,
  type VoidRequest,
  voidRequestSchema,
} from './payment.ts';
export { type FieldError, Problem, type ProblemBody, type ProblemCode, problemSchema, problems } from './problem.ts';
