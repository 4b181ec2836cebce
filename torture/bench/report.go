package bench

import "time"

// A Report is what a plan gave.
type Report struct {
	Machine     Machine       `json:"machine"`
	Rounds      int           `json:"rounds"` // asked for
	Slice       time.Duration `json:"slice_ns"`
	AnyCore     bool          `json:"any_core"` // asked for
	Elapsed     time.Duration `json:"elapsed_ns"`
	Interrupted bool          `json:"interrupted"`
	Notes       []string      `json:"notes"` // where it is not what was asked for
	Rows        []Row         `json:"rows"`
}

// A Row is one stack in one scenario.
type Row struct {
	Scenario    string `json:"scenario"`
	Connections int    `json:"connections"`
	Stack       string `json:"stack"`
	Side        Side   `json:"side"`
	Role        Role   `json:"role"`

	// Rounds that were played. Error says why it was not all of them.
	Rounds int    `json:"rounds"`
	Error  string `json:"error"`

	// Ratio of the rates to the baseline's: more is faster. Of memory, ratio of the bytes: less is lighter. The baseline
	// has none.
	Ratio Spread `json:"ratio"`

	// CPURatio is the same of the processor time of both ends for a unit: less is cheaper. It stays of use where other
	// processes take their share of the machine.
	CPURatio Spread `json:"cpu_ratio"`

	// Unit is what the rate counts.
	Unit string `json:"unit"`

	// Rate is the median of the slices, in units a second.
	Rate float64 `json:"rate"`

	// ClientCPU and ServerCPU are the processor time of each process for a unit, median of the slices.
	ClientCPU time.Duration `json:"client_cpu_ns"`
	ServerCPU time.Duration `json:"server_cpu_ns"`

	Allocations *Allocations `json:"allocations,omitempty"` // of handshakes
	Memory      *Memory      `json:"memory,omitempty"`      // of idle connections
}

// Allocations are those of each process for one handshake, median of the slices.
type Allocations struct {
	Client      float64 `json:"client"`
	ClientBytes float64 `json:"client_bytes"`
	Server      float64 `json:"server"`
	ServerBytes float64 `json:"server_bytes"`
}

// Memory is what a connection holds in each process, in bytes: live objects, and stacks of goroutines.
type Memory struct {
	ClientHeap  float64 `json:"client_heap"`
	ClientStack float64 `json:"client_stack"`
	ServerHeap  float64 `json:"server_heap"`
	ServerStack float64 `json:"server_stack"`
}

func (m *Memory) total() float64 { return m.ClientHeap + m.ClientStack + m.ServerHeap + m.ServerStack }

func newReport(plan *Plan) *Report {
	return &Report{Machine: machine(), Rounds: plan.Rounds, Slice: plan.Slice, AnyCore: plan.AnyCore, Notes: []string{}, Rows: []Row{}}
}

// add adds the rows of a measurement, which err has ended.
func (r *Report) add(m *measurement, err error) {
	for _, p := range append([]*pair{m.stock}, m.variants...) {
		row := Row{
			Scenario: m.scenario.Name, Connections: m.conns, Stack: p.name, Side: p.side, Role: p.role,
			Rounds: len(p.ratios), Ratio: spread(p.ratios), CPURatio: spread(p.costs), Unit: m.scenario.Unit,
			Rate:      p.median(sample.rate),
			ClientCPU: time.Duration(p.median(func(s sample) float64 { return float64(s.client.CPU) / s.units })),
			ServerCPU: time.Duration(p.median(func(s sample) float64 { return float64(s.server.CPU) / s.units })),
			Memory:    p.memoryEach,
		}
		switch {
		case p.role == Baseline:
			for _, v := range m.variants {
				row.Rounds = max(row.Rounds, len(v.ratios))
			}
		case p.memoryEach != nil && m.stock.memoryEach != nil:
			ratio := p.memoryEach.total() / m.stock.memoryEach.total()
			row.Ratio = Spread{ratio, ratio, ratio}
		}
		if m.scenario.kind.isHandshake() {
			row.Allocations = &Allocations{
				Client:      p.median(func(s sample) float64 { return float64(s.client.Mallocs) / s.units }),
				ClientBytes: p.median(func(s sample) float64 { return float64(s.client.Bytes) / s.units }),
				Server:      p.median(func(s sample) float64 { return float64(s.server.Mallocs) / s.units }),
				ServerBytes: p.median(func(s sample) float64 { return float64(s.server.Bytes) / s.units }),
			}
		}
		if p.memoryEach != nil {
			row.Rounds = 1
		}
		switch {
		case p.err != nil:
			row.Error = oneLine(p.err.Error())
		case err != nil:
			row.Error = oneLine(err.Error())
		}
		r.Rows = append(r.Rows, row)
	}
}

func (p *pair) median(f func(sample) float64) float64 {
	values := make([]float64, len(p.samples))
	for i, s := range p.samples {
		values[i] = f(s)
	}
	return median(values)
}

// Failed reports whether a row has an error.
func (r *Report) Failed() bool {
	for i := range r.Rows {
		if r.Rows[i].Error != "" {
			return true
		}
	}
	return false
}
