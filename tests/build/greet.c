#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Greets, and stays for as many seconds as are asked for. */
int main(int count, char **words)
{
    if (count < 2) {
        fputs("greet: whom?\n", stderr);
        return 3;
    }
    printf("hello %s\n", words[1]);
    fflush(stdout);
    if (count > 2) {
        sleep(atoi(words[2]));
    }
    return 0;
}
