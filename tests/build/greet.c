#include <stdio.h>

int main(int count, char **words)
{
    if (count < 2) {
        fputs("greet: whom?\n", stderr);
        return 3;
    }
    printf("hello %s\n", words[1]);
    return 0;
}
