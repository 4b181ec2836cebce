// Package look is what the pages of this module's reports have in common.
package look

import _ "embed"

// Style has the colours and the type. A page adds what is its own.
//
//go:embed style.css
var Style string
