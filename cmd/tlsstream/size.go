package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// A byteSize is a flag that takes a number of bytes, or of KiB, MiB or GiB.
type byteSize int64

var units = []struct {
	name  string
	bytes byteSize
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var errSize = errors.New("want a number of bytes of at least 1, such as 65536, 64KiB or 1MiB")

// Set is part of pflag.Value.
func (s *byteSize) Set(text string) error {
	unit := byteSize(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 40)
	if err != nil || n == 0 || n > math.MaxInt64/uint64(unit) {
		return errSize
	}
	*s = byteSize(n) * unit
	return nil
}

// String gives the form that Set takes.
func (s byteSize) String() string {
	for _, u := range units {
		if s >= u.bytes && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Type is part of pflag.Value.
func (s *byteSize) Type() string { return "size" }
