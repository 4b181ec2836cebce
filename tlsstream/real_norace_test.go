//go:build !race

package tlsstream_test

const underRace = false
