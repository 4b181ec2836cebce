package bench

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/deferredtls/deferredtls/ticketdefer/tlstest"
)

// Client and server share no core, and whoever starts them keeps all of its own.
func TestHalvesShareNoCore(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || all.Count() < 2 {
		t.Skipf("%d cores, %v", all.Count(), err)
	}
	sleep := []string{tlstest.Program(t, "sleep"), "60"}
	cores := func(half int, anyCore bool) unix.CPUSet {
		p, err := newPlaces(t.TempDir(), anyCore).start("sleeper", half, sleep)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(p.cmd.Process.Pid, &set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	first, second, both := cores(0, false), cores(1, false), cores(0, true)
	if first.Count() == 0 || second.Count() == 0 || first.Count()+second.Count() != all.Count() {
		t.Errorf("%d and %d of %d cores", first.Count(), second.Count(), all.Count())
	}
	for cpu := range len(all) * 64 {
		if first.IsSet(cpu) && second.IsSet(cpu) {
			t.Errorf("both have core %d", cpu)
		}
	}
	var after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &after); err != nil || after != all || both != all {
		t.Errorf("of %d cores this thread has %d left, and who may run on any has %d: %v", all.Count(), after.Count(), both.Count(), err)
	}
}
