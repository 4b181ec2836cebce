package bench

import "fmt"

// places knows how to start the processes in which stacks run.
type places struct {
	dir      string
	programs map[string][]string // command lines by stack, of those that are not in this program
}

func newPlaces(dir string) *places { return &places{dir, make(map[string][]string)} }

// build builds the programs of stacks that have one. It returns the stacks that can be measured, and why others cannot.
func (p *places) build(stacks []Stack) (built []Stack, skipped []string) {
	for _, s := range stacks {
		if s.build != nil {
			args, err := s.build(p.dir)
			if err != nil {
				skipped = append(skipped, fmt.Sprintf("%s is skipped: %v", s.Name, err))
				continue
			}
			p.programs[s.Name] = args
		}
		built = append(built, s)
	}
	return built, skipped
}

// with starts processes for both ends of pairs, calls f and ends them. Stacks of this program share theirs.
func (p *places) with(pairs []*pair, f func() error) error {
	var started []*process
	defer func() {
		for _, s := range started {
			s.close()
		}
	}()
	running := make(map[string]*process)
	end := func(name, stack string, half int) (*process, error) {
		args := p.programs[stack]
		key := name
		if args != nil {
			key += " " + stack
		}
		if running[key] == nil {
			s, err := startProcess(name, p.dir, half, args)
			if err != nil {
				return nil, err
			}
			started = append(started, s)
			running[key] = s
		}
		return running[key], nil
	}
	for _, pair := range pairs {
		var err error
		if pair.client, err = end("client", pair.clientStack, 0); err != nil {
			return err
		}
		if pair.server, err = end("server", pair.serverStack, 1); err != nil {
			return err
		}
	}
	return f()
}
