package bench

import "fmt"

// places knows how to start the processes in which stacks run.
type places struct {
	dir      string
	anyCore  bool
	programs map[string][]string // command lines by stack, of those that are not in this program
}

func newPlaces(dir string, anyCore bool) *places {
	return &places{dir, anyCore, make(map[string][]string)}
}

// run calls start so that what it starts runs on a half of the cores, if that is wanted.
func (p *places) run(half int, start func() error) error {
	if p.anyCore {
		return start()
	}
	return onHalf(half, start)
}

// build builds the programs of stacks that have one. It returns the stacks that can be measured, and why others cannot.
func (p *places) build(stacks []Stack) (built []Stack, skipped []string) {
	for _, s := range stacks {
		if s.build != nil {
			args, err := s.build(p.dir)
			if err != nil {
				skipped = append(skipped, fmt.Sprintf("%s is skipped: %s", s.Name, oneLine(err.Error())))
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
		for _, pair := range pairs {
			pair.closeFront() // which has no connections any more
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
			s, err := p.start(name, half, args)
			if err != nil {
				return nil, err
			}
			started = append(started, s)
			running[key] = s
		}
		return running[key], nil
	}
	for _, pair := range pairs {
		pair.places = p
		serverHalf := 1
		if pair.terminator != nil {
			serverHalf = 0 // the other is the terminator's
		}
		var err error
		if pair.client, err = end("client", pair.clientStack, 0); err != nil {
			return err
		}
		if pair.server, err = end("server", pair.serverStack, serverHalf); err != nil {
			return err
		}
	}
	return f()
}

// check returns the terminators that can be started, and why others cannot.
func (p *places) check(terminators []Terminator) (there []Terminator, skipped []string) {
	for _, t := range terminators {
		if _, err := p.command(&t, 0, ""); err != nil {
			skipped = append(skipped, fmt.Sprintf("%s is skipped: %s", t.Name, oneLine(err.Error())))
			continue
		}
		there = append(there, t)
	}
	return there, skipped
}

func (p *pair) closeFront() {
	if p.front != nil {
		p.front.close()
		p.front = nil
	}
}
