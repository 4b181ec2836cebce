package ftpd

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Hashes of "secret" at the least cost, in the form of htpasswd and in that of Go.
const (
	htpasswdHash = "$2y$04$FiCHqiRO2GGGnpZxjnw4iuvfaNOduMIKHScZ1YlIMRX2nTUb9V/.e"
	goHash       = "$2a$04$1suAGbLqr8k0YY7.223UReRBt3bAGOfPoFVfhrxc83w7ZObWlzw7G"
)

func decimal(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }

func TestUsersAreReadFromAFile(t *testing.T) {
	file := strings.Join([]string{
		"# a comment, and an empty line",
		"",
		"alice:" + htpasswdHash,
		"  bob:" + goHash + "  quota=1000 rate=20 root=/srv/for bob ",
		"carol:" + goHash + " root=c",
	}, "\n")
	users := NewUsers()
	if err := users.Read(strings.NewReader(file), "/srv", decimal); err != nil {
		t.Fatal(err)
	}
	want := []*User{
		{Name: "alice", Root: filepath.Join("/srv", "alice")},
		{Name: "bob", Root: "/srv/for bob", Quota: 1000, Rate: 20},
		{Name: "carol", Root: filepath.Join("/srv", "c")},
	}
	byName := cmpopts.SortSlices(func(a, b *User) bool { return a.Name < b.Name })
	if diff := cmp.Diff(want, users.All(), byName, cmpopts.IgnoreUnexported(User{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{"alice", "bob"} {
		if user, err := users.check(t.Context(), name, "secret"); err != nil || user.Name != name {
			t.Errorf("%s: %v, %v", name, user, err)
		}
		if _, err := users.check(t.Context(), name, "Secret"); !errors.Is(err, errLogin) {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	if _, err := users.check(t.Context(), "nobody", "secret"); !errors.Is(err, errLogin) {
		t.Errorf("an unknown user: %v", err)
	}
}

func TestMistakesInTheFileOfUsersAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"alice":                           "line 2: want NAME:HASH",
		"alice:secret":                    `line 2: user "alice": the password is not a bcrypt hash`,
		"alice:" + goHash + " quota=many": "line 2: quota=many: ",
		"alice:" + goHash + " rate=-1":    `line 2: user "alice" has a negative limit`,
		"alice:" + goHash + " size=1":     `line 2: unknown setting "size=1"`,
		":" + goHash + " root=/srv":       `line 2: "" is not a name for a user`,
		"../alice:" + goHash:              `line 2: user "../alice" needs a root=`,
		".:" + goHash:                     `line 2: user "." needs a root=`,
		"bob:" + goHash:                   `line 2: user "bob" is there twice`,
	} {
		err := NewUsers().Read(strings.NewReader("bob:"+goHash+"\n"+line), "/srv", decimal)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestHashPasswordMakesWhatCheckTakes(t *testing.T) {
	hash, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	users := NewUsers()
	if err := users.Add(User{Name: "alice"}, hash); err != nil {
		t.Fatal(err)
	}
	if _, err := users.check(t.Context(), "alice", "secret"); err != nil {
		t.Error(err)
	}
	for _, password := range []string{"", strings.Repeat("x", 73)} {
		if _, err := HashPassword(password); err == nil {
			t.Errorf("%d bytes are a password", len(password))
		}
	}
}
