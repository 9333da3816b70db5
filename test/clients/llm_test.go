package clients

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/test/harness"
)

var words = strings.SplitAfter("Streams end early, repeat themselves and fall silent.", " ")

// model answers as the APIs of language models do: /whole/{key}/v1 wholly, and
// /broken/{key}/v1 breaks off behind the fourth word, when the client has it.
func model(c *control) http.Handler {
	mux := http.NewServeMux()
	for _, state := range []string{"whole", "broken"} {
		at := "/" + state + "/{key}/v1/"
		answer := func(path string, api func(say func(string), next func(word int))) {
			mux.HandleFunc("POST "+at+path, func(w http.ResponseWriter, r *http.Request) {
				api(stream(w), func(word int) {
					if state == "broken" && word == breakBehind {
						c.await(fmt.Sprintf("%s-%d", r.PathValue("key"), word), r.Context().Done())
						panic(http.ErrAbortHandler)
					}
				})
			})
		}
		answer("chat/completions", chat)
		answer("messages", messages)
		answer("responses", func(say func(string), next func(int)) { responses(say, next, -1) })
		mux.HandleFunc("GET "+at+"responses/resp_1", func(w http.ResponseWriter, r *http.Request) {
			after, err := strconv.Atoi(r.URL.Query().Get("starting_after"))
			if err != nil || r.URL.Query().Get("stream") != "true" {
				http.Error(w, `{"error":{"message":"bad parameters"}}`, http.StatusBadRequest)
				return
			}
			responses(stream(w), func(int) {}, after)
		})
	}
	return mux
}

const breakBehind = 4

// chat is OpenAI's older API, whose events have neither types nor ids:
// https://platform.openai.com/docs/api-reference/chat-streaming
func chat(say func(string), next func(word int)) {
	for n, word := range words {
		next(n)
		say(fmt.Sprintf("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","+
			"\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", word))
	}
	say("data: [DONE]\n\n")
}

// responses is OpenAI's newer API, whose events are numbered in their data and can
// be asked for again: https://platform.openai.com/docs/api-reference/responses-streaming
func responses(say func(string), next func(word int), after int) {
	number := 0
	event := func(kind, fields string) {
		if number > after {
			say(fmt.Sprintf("event: %s\ndata: {\"type\":%q,%s,\"sequence_number\":%d}\n\n", kind, kind, fields, number))
		}
		number++
	}
	response := func(status string) string {
		return fmt.Sprintf(`"response":{"id":"resp_1","object":"response","created_at":1,"status":%q,"background":true,"model":"m","output":[],`+
			`"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}`, status)
	}
	event("response.created", response("in_progress"))
	for n, word := range words {
		next(n)
		event("response.output_text.delta", fmt.Sprintf(`"item_id":"i","output_index":0,"content_index":0,"logprobs":[],"delta":%q`, word))
	}
	event("response.completed", response("completed"))
}

// messages is Anthropic's API: https://docs.anthropic.com/en/docs/build-with-claude/streaming
func messages(say func(string), next func(word int)) {
	event := func(kind, fields string) {
		say(fmt.Sprintf("event: %s\ndata: {\"type\":%q%s}\n\n", kind, kind, fields))
	}
	event("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],`+
		`"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}`)
	event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	event("ping", "")
	for n, word := range words {
		next(n)
		event("content_block_delta", fmt.Sprintf(`,"index":0,"delta":{"type":"text_delta","text":%q}`, word))
	}
	event("content_block_stop", `,"index":0`)
	event("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}`)
	event("message_stop", "")
}

// answer is what an SDK made of a stream.
type answer struct {
	Events []string `json:"events"` // their types, as the SDK tells them
	Text   string   `json:"text"`
	Failed bool     `json:"failed"`
}

// TestModels: SDKs of language models get the same answers, the same errors where
// a stream cannot be resumed, and a whole answer where it can.
func TestModels(t *testing.T) {
	var text [2]string // whole and broken
	text[0], text[1] = strings.Join(words, ""), strings.Join(words[:breakBehind], "")
	for sdk, run := range map[string]func(t *testing.T, args ...string) *harness.Program{
		"python":     func(t *testing.T, args ...string) *harness.Program { return python(t, "llm.py", args...) },
		"typescript": func(t *testing.T, args ...string) *harness.Program { return node(t, "llm.mjs", args...) },
	} {
		ask := func(t *testing.T, w way) map[string]answer {
			t.Helper()
			c := newControl(t)
			url, _ := w.to(t, serve(t, model(c)))
			return result[map[string]answer](t, run(t, url, c.URL+"/seen"))
		}
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			direct := ask(t, ways()[0])
			if len(direct) != 6 {
				t.Fatalf("asked %d times", len(direct))
			}
			for name, a := range direct {
				want := text[0]
				broken := strings.HasPrefix(name, "broken")
				if broken {
					want = text[1]
				}
				if a.Text != want || a.Failed != broken || len(a.Events) < breakBehind {
					t.Errorf("directly, %s is %+v", name, a)
				}
			}
			for _, w := range ways()[1:] {
				t.Run(w.name, func(t *testing.T) {
					want := maps.Clone(direct)
					if w.holds() {
						// The only one of these that can be taken up again.
						want["broken-responses"] = direct["whole-responses"]
					}
					if diff := cmp.Diff(want, ask(t, w)); diff != "" {
						t.Errorf("answers (-want +got):\n%s", diff)
					}
				})
			}
		})
	}
}
