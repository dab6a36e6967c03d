// Command httpload posts files to one path over HTTP and keeps every answer, so that they can be compared afterwards.
// It is built and run by bench/harness/http_files.py and prints one JSON object.
//
// Closed loop: so many connections, each with one request at a time. Open loop (-rate): requests begin at a constant
// rate whatever became of those before, and a latency counts from the moment at which the request was due, so that a
// server which falls behind is seen to (as wrk2 does it).
//
// Request n sends file n modulo their number. Of every answer the -answers file gets one line: the number of the file
// and the body in base64.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const timeout = 60 * time.Second

type answer struct {
	file    int
	status  int
	body    []byte
	latency time.Duration
	problem string
}

type result struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
	P99      float64 `json:"p99_ms"`
	Failed   int     `json:"failed"`
	First    string  `json:"first_failed"`
}

type headers map[string]string

func (headers) String() string { return "" }
func (all headers) Set(line string) error {
	name, value, found := strings.Cut(line, ":")
	if !found {
		return fmt.Errorf("expected NAME: VALUE, got %q", line)
	}
	all[name] = strings.TrimSpace(value)
	return nil
}

// load is everything that the requests share.
type load struct {
	url     string
	headers headers
	bodies  [][]byte
	client  *http.Client
	next    atomic.Int64
}

func main() {
	sent := headers{}
	url := flag.String("url", "", "where to post")
	folder := flag.String("files", "", "folder; its files, in the order of their names, are the bodies")
	connections := flag.Int("connections", 1, "requests at once in a closed loop; most connections in an open one")
	rate := flag.Float64("rate", 0, "requests a second of an open loop; 0 is a closed loop")
	duration := flag.Duration("duration", time.Second, "how long requests are begun")
	answers := flag.String("answers", "", "file that gets the answers")
	keep := flag.Int("keep", 1, "keep each so many-th answer; the others' status alone is looked at")
	flag.Var(sent, "header", "NAME: VALUE, may be repeated")
	flag.Parse()
	if err := run(*url, sent, *folder, *connections, *rate, *duration, *answers, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "httpload:", err)
		os.Exit(1)
	}
}

func run(
	url string, sent headers, folder string, connections int, rate float64, duration time.Duration, into string, keep int,
) error {
	runtime.GOMAXPROCS(1) // more threads would look for work, in turns, on the cores that the server needs
	bodies, err := read(folder)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
		DisableCompression:  true,
		WriteBufferSize:     256 << 10, // a photo in one write: the client shall take little of what it measures
	}
	shared := &load{url: url, headers: sent, bodies: bodies, client: &http.Client{Transport: transport, Timeout: timeout}}
	started := time.Now()
	var seen []answer
	if rate > 0 {
		seen = shared.open(rate, started, duration, keep)
	} else {
		seen = shared.closed(connections, started.Add(duration), keep)
	}
	elapsed := time.Since(started)
	if err := write(into, seen); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(summarise(seen, elapsed))
}

func read(folder string) ([][]byte, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no files in %q: %w", folder, err)
	}
	slices.Sort(names)
	var bodies [][]byte
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

// closed begins the next request of a connection when the one before is answered.
func (shared *load) closed(connections int, end time.Time, keep int) []answer {
	each := make([][]answer, connections)
	var all sync.WaitGroup
	for index := range each {
		all.Go(func() {
			for now := time.Now(); now.Before(end); now = time.Now() {
				each[index] = append(each[index], shared.ask(now, keep))
			}
		})
	}
	all.Wait()
	return slices.Concat(each...)
}

// open begins requests at their times.
func (shared *load) open(rate float64, started time.Time, duration time.Duration, keep int) []answer {
	seen := make([]answer, int(rate*duration.Seconds()))
	var all sync.WaitGroup
	for index := range seen {
		due := started.Add(time.Duration(float64(index) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		all.Go(func() { seen[index] = shared.ask(due, keep) })
	}
	all.Wait()
	return seen
}

// ask posts the next file; the latency counts from `since`.
func (shared *load) ask(since time.Time, keep int) answer {
	number := int(shared.next.Add(1) - 1)
	seen := answer{file: number % len(shared.bodies)}
	body, status, err := shared.post(shared.bodies[seen.file])
	seen.latency = time.Since(since)
	seen.status = status
	switch {
	case err != nil:
		seen.problem = err.Error()
	case status != http.StatusOK:
		seen.problem = fmt.Sprintf("%d %s", status, body[:min(len(body), 200)])
	case number%keep == 0:
		seen.body = body
	}
	return seen
}

func (shared *load) post(body []byte) ([]byte, int, error) {
	request, err := http.NewRequest(http.MethodPost, shared.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	for name, value := range shared.headers {
		request.Header.Set(name, value)
	}
	response, err := shared.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	found, err := io.ReadAll(response.Body)
	return found, response.StatusCode, err
}

func write(into string, seen []answer) error {
	file, err := os.Create(into)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewWriter(file)
	for _, one := range seen {
		if one.body != nil {
			fmt.Fprintln(lines, one.file, base64.StdEncoding.EncodeToString(one.body))
		}
	}
	return lines.Flush()
}

func summarise(seen []answer, elapsed time.Duration) result {
	sum := result{Requests: len(seen), Seconds: elapsed.Seconds()}
	var latencies []time.Duration
	for _, one := range seen {
		latencies = append(latencies, one.latency)
		if one.problem != "" {
			sum.Failed++
			if sum.First == "" {
				sum.First = one.problem
			}
		}
	}
	slices.Sort(latencies)
	quantile := func(share float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return float64(latencies[int(share*float64(len(latencies)-1))].Microseconds()) / 1e3
	}
	sum.P50, sum.P95, sum.P99 = quantile(0.50), quantile(0.95), quantile(0.99)
	return sum
}
