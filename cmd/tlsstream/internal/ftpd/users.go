package ftpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// A User may log in.
type User struct {
	Name string
	// Root is the folder that the user sees as "/".
	Root string
	// Quota bounds the bytes below Root, with what is being uploaded. If zero,
	// there is no bound.
	Quota int64
	// Rate bounds bytes per second, in each direction, over all connections of
	// the user. If zero, there is no bound.
	Rate int64

	hash   []byte // bcrypt
	limits *limits
}

// Users are those who may log in. It is not changed while a Server uses it.
type Users struct {
	byName map[string]*User
	// checking bounds the processor time that guesses can take: the cost of
	// bcrypt is meant to be high.
	checking chan struct{}
}

// maxChecking is how many passwords are checked at a time.
const maxChecking = 2

// NewUsers returns an empty set.
func NewUsers() *Users {
	return &Users{byName: make(map[string]*User), checking: make(chan struct{}, maxChecking)}
}

// nobody is the hash, at bcrypt.DefaultCost, of a password that was thrown away. It
// takes as long to check as a user's.
const nobody = "$2a$10$7fJ4.LDRsINpJLvZVHsWsuNaXuRaSlp3CZnfgw3JlPiVTWffbnVay"

// HashPassword makes what the file of users has in the place of a password.
func HashPassword(password string) (string, error) {
	if password == "" {
		return "", errors.New("the password is empty")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if errors.Is(err, bcrypt.ErrPasswordTooLong) {
		return "", errors.New("the password is longer than 72 bytes")
	}
	return string(hash), err
}

// Add adds a user whose password is to be checked against a bcrypt hash.
func (u *Users) Add(user User, hash string) error {
	switch {
	case user.Name == "" || strings.ContainsFunc(user.Name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ':' }):
		return fmt.Errorf("%q is not a name for a user", user.Name)
	case u.byName[user.Name] != nil:
		return fmt.Errorf("user %q is there twice", user.Name)
	case user.Quota < 0 || user.Rate < 0:
		return fmt.Errorf("user %q has a negative limit", user.Name)
	}
	if _, err := bcrypt.Cost([]byte(hash)); err != nil {
		return fmt.Errorf("user %q: the password is not a bcrypt hash", user.Name)
	}
	user.hash = []byte(hash)
	user.limits = newLimits(user.Quota, user.Rate)
	u.byName[user.Name] = &user
	return nil
}

// Read adds the users of a file: a line for each, as "htpasswd -nB NAME" prints
// it, and behind it any of quota=SIZE, rate=SIZE and, as the last, root=FOLDER.
// Without root= it is the folder NAME below root. Empty lines and those that
// begin with # do not count. size reads a number of bytes.
func (u *Users) Read(r io.Reader, root string, size func(string) (int64, error)) error {
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := u.readLine(line, root, size); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return lines.Err()
}

func (u *Users) readLine(line, root string, size func(string) (int64, error)) error {
	account, rest, _ := strings.Cut(line, " ")
	name, hash, ok := strings.Cut(account, ":")
	if !ok {
		return errors.New("want NAME:HASH, then quota=SIZE, rate=SIZE, root=FOLDER if need be")
	}
	user := User{Name: name}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		if folder, ok := strings.CutPrefix(rest, "root="); ok {
			user.Root = folder
			break
		}
		var setting string
		setting, rest, _ = strings.Cut(rest, " ")
		key, value, _ := strings.Cut(setting, "=")
		var err error
		switch key {
		case "quota":
			user.Quota, err = size(value)
		case "rate":
			user.Rate, err = size(value)
		default:
			return fmt.Errorf("unknown setting %q", setting)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	switch {
	case user.Root == "" && !filepath.IsLocal(name) || name == "." || strings.ContainsAny(name, `/\`):
		return fmt.Errorf("user %q needs a root=", name)
	case user.Root == "":
		user.Root = filepath.Join(root, name)
	case !filepath.IsAbs(user.Root):
		user.Root = filepath.Join(root, user.Root)
	}
	return u.Add(user, hash)
}

// All returns the users in no order.
func (u *Users) All() []*User {
	var all []*User
	for _, user := range u.byName {
		all = append(all, user)
	}
	return all
}

var errLogin = errors.New("wrong user or password")

// check returns the user of that name and password.
func (u *Users) check(ctx context.Context, name, password string) (*User, error) {
	select {
	case u.checking <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-u.checking }()
	user, known := u.byName[name]
	hash := []byte(nobody)
	if known {
		hash = user.hash
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || !known {
		return nil, errLogin
	}
	return user, nil
}
