// Reads an event stream with fetch and npm's eventsource-parser, acknowledges each
// event and prints what came of it as JSON: parser.mjs URL ACKNOWLEDGE
import {EventSourceParserStream} from 'eventsource-parser/stream'

const [url, acknowledge] = process.argv.slice(2)
const events = []
let failed = false
try {
  const response = await fetch(url, {headers: {accept: 'text/event-stream'}})
  const blocks = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
  for await (const e of blocks) {
    const n = events.push([e.event ?? 'message', e.id ?? '', e.data])
    await fetch(`${acknowledge}-${n}`, {method: 'POST'})
  }
} catch (e) {
  console.error(e)
  failed = true
}
console.log(JSON.stringify({events, failed}))
