// Reads an event stream with npm's eventsource, which reconnects as a browser does,
// until an event of the type "end", acknowledges each event and prints what came of it
// as JSON: eventsource.mjs URL ACKNOWLEDGE
import {EventSource} from 'eventsource'

const [url, acknowledge] = process.argv.slice(2)
const seen = {opens: 0, errors: 0, events: []}
const alive = setInterval(() => {}, 1000) // waiting to reconnect alone does not keep Node running
const source = new EventSource(url)
source.onopen = () => seen.opens++
source.onerror = () => seen.errors++
const take = e => void fetch(`${acknowledge}-${seen.events.push([e.type, e.lastEventId, e.data])}`, {method: 'POST'})
source.onmessage = take
source.addEventListener('named', take)
source.addEventListener('end', () => {
  source.close()
  clearInterval(alive)
  console.log(JSON.stringify(seen))
})
