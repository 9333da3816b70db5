// Streams answers with the SDKs of language models' vendors, acknowledges each word
// and prints what came of them as JSON: llm.mjs URL ACKNOWLEDGE
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'

const [base, acknowledge] = process.argv.slice(2)

async function* chat(url) {
  const client = new OpenAI({baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0})
  const answer = await client.chat.completions.create({model: 'm', messages: [{role: 'user', content: 'hello'}], stream: true})
  for await (const chunk of answer) yield [chunk.object, chunk.choices[0].delta.content ?? '']
}

async function* responses(url) {
  const client = new OpenAI({baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0})
  const answer = await client.responses.create({model: 'm', input: 'hello', stream: true, background: true})
  for await (const event of answer) yield [event.type, event.type === 'response.output_text.delta' ? event.delta : '']
}

async function* messages(url) {
  const client = new Anthropic({baseURL: url, apiKey: 'none', maxRetries: 0})
  const answer = client.messages.stream({model: 'm', max_tokens: 100, messages: [{role: 'user', content: 'hello'}]})
  for await (const event of answer) yield [event.type, event.delta?.text ?? '']
}

const answers = {}
for (const state of ['whole', 'broken']) {
  for (const api of [chat, responses, messages]) {
    const name = `${state}-${api.name}`
    const events = []
    const words = []
    let failed = false
    try {
      for await (const [kind, piece] of api(`${base}/${state}/${name}`)) {
        events.push(kind)
        if (piece) await fetch(`${acknowledge}/${name}-${words.push(piece)}`, {method: 'POST'})
      }
    } catch (e) {
      console.error(name, e)
      failed = true
    }
    answers[name] = {events, text: words.join(''), failed}
  }
}
console.log(JSON.stringify(answers))
process.exit(0)
