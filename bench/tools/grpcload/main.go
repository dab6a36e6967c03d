// Command grpcload sends one gRPC request again and again over one connection, in a closed loop, and compares every
// answer. It is built and run by bench/protocols/grpc_load.py and prints one JSON object.
//
// It treats messages as bytes: nothing is encoded or decoded here, so that the client takes little of the CPU that it
// shares with the server. The expected values (FP32, little-endian) stand in a right answer wherever the server puts
// them, because raw_output_contents and a packed fp32_contents hold the same bytes. They need not be the same to the last
// bit: a network gives a row in a batch another rounding than the row alone.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

type raw struct{}

func (raw) Name() string                        { return "proto" }
func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, to any) error {
	*to.(*[]byte) = bytes.Clone(data)
	return nil
}

// tally is what one caller saw; each caller has its own, so nothing is shared while the clock runs.
type tally struct {
	latencies []time.Duration
	failed    int
	wrong     int
	first     string
}

type result struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
	P99      float64 `json:"p99_ms"`
	Failed   int     `json:"failed"`
	Checked  int     `json:"checked"`
	Wrong    int     `json:"wrong"`
	First    string  `json:"first_wrong"`
}

func main() {
	address := flag.String("address", "", "host:port")
	method := flag.String("method", "/inference.GRPCInferenceService/ModelInfer", "full method name")
	request := flag.String("request", "", "file with the encoded request")
	expected := flag.String("expected", "", "file with FP32 values that every answer must hold")
	callers := flag.Int("callers", 1, "calls in flight")
	duration := flag.Duration("duration", time.Second, "how long")
	flag.Parse()
	if err := run(*address, *method, *request, *expected, *callers, *duration); err != nil {
		fmt.Fprintln(os.Stderr, "grpcload:", err)
		os.Exit(1)
	}
}

func run(address, method, requestFile, expectedFile string, callers int, duration time.Duration) error {
	body, err := os.ReadFile(requestFile)
	if err != nil {
		return err
	}
	wanted, err := os.ReadFile(expectedFile)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.Invoke(context.Background(), method, &body, new([]byte), grpc.WaitForReady(true)); err != nil {
		return err
	}
	tallies := make([]tally, callers)
	var all sync.WaitGroup
	started := time.Now()
	for index := range tallies {
		all.Go(func() { call(connection, method, body, wanted, started.Add(duration), &tallies[index]) })
	}
	all.Wait()
	return json.NewEncoder(os.Stdout).Encode(summarise(tallies, time.Since(started)))
}

func call(connection *grpc.ClientConn, method string, body, wanted []byte, end time.Time, seen *tally) {
	for before := time.Now(); before.Before(end); {
		var answer []byte
		context, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := connection.Invoke(context, method, &body, &answer)
		cancel()
		after := time.Now()
		seen.latencies = append(seen.latencies, after.Sub(before))
		before = after
		switch {
		case err != nil:
			seen.failed++
			seen.remember(err.Error())
		case !bytes.Contains(answer, wanted) && !holds(answer, wanted):
			seen.wrong++
			seen.remember(fmt.Sprintf("%x", answer))
		}
	}
}

// holds says whether values within 1e-5 of the wanted ones stand one after the other somewhere in the answer.
func holds(answer, wanted []byte) bool {
	for start := 0; start+len(wanted) <= len(answer); start++ {
		if alike(answer[start:start+len(wanted)], wanted) {
			return true
		}
	}
	return false
}

func alike(found, wanted []byte) bool {
	for at := 0; at+4 <= len(wanted); at += 4 {
		value := float64(math.Float32frombits(binary.LittleEndian.Uint32(found[at:])))
		should := float64(math.Float32frombits(binary.LittleEndian.Uint32(wanted[at:])))
		if !(math.Abs(value-should) <= 1e-5*math.Max(1, math.Abs(should))) {
			return false
		}
	}
	return true
}

func (seen *tally) remember(text string) {
	if seen.first == "" {
		seen.first = text[:min(len(text), 200)]
	}
}

func summarise(tallies []tally, elapsed time.Duration) result {
	sum := result{Seconds: elapsed.Seconds()}
	var latencies []time.Duration
	for _, one := range tallies {
		latencies = append(latencies, one.latencies...)
		sum.Failed += one.failed
		sum.Wrong += one.wrong
		if sum.First == "" {
			sum.First = one.first
		}
	}
	slices.Sort(latencies)
	sum.Requests = len(latencies)
	sum.Checked = sum.Requests - sum.Failed
	quantile := func(share float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return float64(latencies[int(share*float64(len(latencies)-1))].Microseconds()) / 1e3
	}
	sum.P50, sum.P95, sum.P99 = quantile(0.50), quantile(0.95), quantile(0.99)
	return sum
}
