C     SOLVES A SYSTEM OF LINEAR EQUATIONS BY ELIMINATION WITH
C     PARTIAL PIVOTING.
      PROGRAM GAUSS
      INTEGER MAXN
      PARAMETER (MAXN = 10)
      DOUBLE PRECISION A(MAXN,MAXN), B(MAXN), X(MAXN), RESID
      INTEGER N, I, J, IERR
      DATA N /3/
      DATA ((A(I,J), J = 1, 3), I = 1, 3)
     &     /2.0D0, 1.0D0, -1.0D0, -3.0D0, -1.0D0, 2.0D0,
     &      -2.0D0, 1.0D0, 2.0D0/
      DATA (B(I), I = 1, 3) /8.0D0, -11.0D0, -3.0D0/
      CALL SOLVE(A, MAXN, N, B, X, IERR)
      IF (IERR .NE. 0) THEN
         WRITE(*,*) 'SINGULAR AT STEP', IERR
         STOP
      END IF
      DO 10 I = 1, N
         WRITE(*,100) I, X(I)
   10 CONTINUE
      RESID = 0.0D0
      DO 20 I = 1, N
         IF (DABS(X(I)) .GT. RESID) RESID = DABS(X(I))
   20 CONTINUE
      WRITE(*,110) RESID
  100 FORMAT(1X, 'X(', I2, ') = ', F10.4)
  110 FORMAT(1X, 'LARGEST ', F10.4)
      END

      SUBROUTINE SOLVE(A, LDA, N, B, X, IERR)
      INTEGER LDA, N, IERR
      DOUBLE PRECISION A(LDA,*), B(*), X(*)
      INTEGER I, J, K, IP
      DOUBLE PRECISION F, T, EPS
      PARAMETER (EPS = 1.0D-12)
      IERR = 0
      DO 50 K = 1, N - 1
         IP = K
         DO 10 I = K + 1, N
            IF (DABS(A(I,K)) .GT. DABS(A(IP,K))) IP = I
   10    CONTINUE
         IF (DABS(A(IP,K)) .LE. EPS) THEN
            IERR = K
            RETURN
         ENDIF
         IF (IP .NE. K) THEN
            DO 20 J = 1, N
               T = A(K,J)
               A(K,J) = A(IP,J)
               A(IP,J) = T
   20       CONTINUE
            T = B(K)
            B(K) = B(IP)
            B(IP) = T
         ENDIF
         DO 40 I = K + 1, N
            F = A(I,K) / A(K,K)
            DO 30 J = K, N
               A(I,J) = A(I,J) - F * A(K,J)
   30       CONTINUE
            B(I) = B(I) - F * B(K)
   40    CONTINUE
   50 CONTINUE
      IF (DABS(A(N,N)) .LE. EPS) THEN
         IERR = N
         RETURN
      ENDIF
      DO 70 I = N, 1, -1
         T = B(I)
         DO 60 J = I + 1, N
            T = T - A(I,J) * X(J)
   60    CONTINUE
         X(I) = T / A(I,I)
   70 CONTINUE
      RETURN
      END
